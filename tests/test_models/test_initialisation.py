"""Every part of a model is initialised as its ``init_cfg`` says."""

from __future__ import annotations

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import nn

from mmseg_papers.models.layers import InitialisedLast

from ..families import config_of, every_family


def built(family):
    torch.manual_seed(0)
    model = MODELS.build(config_of(family).model)
    model.init_weights()
    return model


@every_family
def test_no_part_is_left_out(family):
    model = built(family)
    left_out = {
        name
        for name, part in model.named_modules()
        if isinstance(part, BaseModule) and part.init_cfg and not part.is_init
    }
    assert not left_out


def spread(conv):
    """Standard deviation of the weights over that of Kaiming's normal by inputs."""
    return conv.weight.std().item() / (2 / conv.weight[0].numel()) ** 0.5


def test_height_attention_and_its_head_are_kaimings():
    model = built("hanet")
    convs = [m for m in model.height_attention.modules() if isinstance(m, nn.Conv1d)]
    head = model.decode_head
    convs += [m.conv for m in (head.bottleneck, head.c1_bottleneck, *head.fuse)]
    for conv in convs:
        assert spread(conv) == pytest.approx(1, rel=0.1)
        assert conv.bias is None or not conv.bias.any()


@pytest.mark.parametrize("family", ["ocrnet", "aspocrnet"])
def test_ocr_heads_are_pytorchs(family):
    for name, conv in built(family).decode_head.named_modules():
        if isinstance(conv, nn.Conv2d):
            assert spread(conv) == pytest.approx(6**-0.5, rel=0.1), name


class Part(InitialisedLast):
    def __init__(self, init_cfg):
        super().__init__(init_cfg)
        self.conv = ConvModule(3, 8, 1)


@pytest.mark.parametrize("is_first", [True, False])
def test_weights_from_a_file_come_last(is_first, tmp_path):
    expected = Part(None).state_dict()
    torch.save(expected, tmp_path / "part.pth")
    pretrained = dict(type="Pretrained", checkpoint=str(tmp_path / "part.pth"))
    constant = dict(type="Constant", layer="Conv2d", val=7.0)
    part = Part([pretrained, constant] if is_first else [constant, pretrained])
    part.init_weights()
    torch.testing.assert_close(part.state_dict(), expected, rtol=0, atol=0)


CONSTANT = dict(type="Constant", layer="Conv2d", val=0.25)


@pytest.mark.parametrize(
    "part",
    [
        dict(type="DeepLabV3Head", in_channels=8, channels=4, num_classes=3),
        dict(type="DeepLabV3PlusHead", in_channels=8, channels=4, num_classes=3, c1_in_channels=4),
        dict(type="DeepLabV3PlusDecoderHead", channels=4, num_classes=3, in_channels=8),
        dict(type="CPHead", in_channels=8, channels=4, prior_channels=4, prior_size=4)
        | dict(num_classes=3, norm_cfg=dict(type="BN")),
        dict(type="ShuffleNetV2"),
    ],
    ids=lambda part: part["type"],
)
def test_init_cfg_reaches_every_conv(part):
    built = MODELS.build(dict(part, init_cfg=CONSTANT))
    built.init_weights()
    convs = {name: m for name, m in built.named_modules() if isinstance(m, nn.Conv2d)}
    assert not [name for name, conv in convs.items() if (conv.weight != 0.25).any()]


def test_a_named_layer_is_drawn_once():
    class Classified(Part):
        def __init__(self, init_cfg):
            super().__init__(init_cfg)
            self.conv_seg = nn.Conv2d(8, 3, 1)

    part = Classified(dict(type="Normal", std=1, override=dict(name="conv_seg")))
    torch.manual_seed(0)
    expected = torch.randn(3, 8, 1, 1)
    torch.manual_seed(0)
    part.init_weights()
    torch.testing.assert_close(part.conv_seg.weight.data, expected)
    part = Classified(dict(type="Constant", val=2, override=dict(name="conv")))
    part.init_weights()
    assert (part.conv.conv.weight == 2).all()
    all_convs = dict(type="Constant", val=2, layer="Conv2d", override=None)
    classifier = dict(type="Constant", val=3, override=dict(name="conv_seg"))
    part = Classified([all_convs, classifier])
    part.init_weights()
    assert (part.conv.conv.weight == 2).all()
    assert (part.conv_seg.weight == 3).all()


@every_family
def test_a_second_call_changes_no_model(family):
    model = built(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for part in model.modules():
        if getattr(part, "is_init", False):
            part.init_weights()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("init_cfg", [None, {}, dict(type="Normal", layer="Conv2d", std=1)])
def test_a_second_call_changes_nothing(init_cfg):
    part = Part(init_cfg)
    part.init_weights()
    before = {name: value.clone() for name, value in part.state_dict().items()}
    part.init_weights()
    torch.testing.assert_close(part.state_dict(), before, rtol=0, atol=0)
