"""Images of other than three channels, in every backbone."""

import re

import pytest
import torch
from mmseg.registry import MODELS

import mmseg_papers.models.backbones  # noqa: F401
from mmseg_papers.apis.configs import CONFIGS
from mmseg_papers.models.layers import CompleteLoading

BACKBONES = [
    dict(type="AlignedXception", depth=41),
    dict(type="AtrousResNet", depth=18),
    dict(type="AtrousResNet", depth=50, deep_stem=True, stem_channels=128),
    dict(type="DilatedDenseNet", arch="121"),
    dict(type="DilatedMobileNetV2"),
    dict(type="ESPNetv2", scale=0.5),
    dict(type="FullMobileNetV2"),
    dict(type="HighResolutionNet", arch="w18_small_v1"),
    dict(type="LightWeightMobileNetV2"),
    dict(type="PluginResNetV1c", depth=18),
    dict(type="ShuffleNetV2", widen_factor=0.5),
]


def build(config, **options):
    torch.manual_seed(0)
    return MODELS.build({"norm_cfg": dict(type="BN"), **config, **options}).eval()


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("config", BACKBONES, ids=lambda config: config["type"])
@torch.no_grad()
def test_equal_channels_give_what_equal_colours_gave(config, channels):
    of_colours, net = build(config), build(config, in_channels=channels)
    x = torch.rand(1, 1, 64, 64)
    net(x.expand(-1, channels, -1, -1))
    if config["type"] != "ESPNetv2":  # which has convolutions from image channels to as many
        net.load_state_dict(of_colours.state_dict())
        expected, got = of_colours(x.expand(-1, 3, -1, -1)), net(x.expand(-1, channels, -1, -1))
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item())
    message = rf"have 3 channels and {config['type']} .*in_channels={channels}; set backbone\."
    with pytest.raises(ValueError, match=message):
        net(torch.rand(1, 3, 64, 64))


def test_one_config_has_a_backbone_of_mmseg():
    """Which takes no weights of three channels for another number; docs/own_data.md names it."""
    pattern = re.compile(r'backbone=dict\(\s*(?:_delete_=True,\s*)?type="(\w+)"')
    kinds = {file.stem: pattern.findall(file.read_text()) for file in CONFIGS.rglob("*.py")}
    assert "PluginResNetV1c" in kinds["cpnet_r50-d8"]
    others = [
        name
        for name, found in kinds.items()
        if not all(issubclass(MODELS.get(kind), CompleteLoading) for kind in found)
    ]
    assert others == ["hanet_resnext101-os8-coarse_6xb2-90k_cityscapes-864x864"]
