"""SPHead: counts of the published network, options, and what is refused."""

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_papers.apis import multiply_adds
from mmseg_papers.apis.configs import packaged_configs
from mmseg_papers.models.decode_heads import SPHead
from mmseg_papers.ops import use_references

NORM = dict(type="BN")


@pytest.mark.parametrize(
    ("name", "size", "backbone", "head"),
    [
        ("spnet_r50-d8_4xb4-152k_ade20k-480x480", (480, 480), 97.3, 45.8),
        ("spnet_r50-d8-no-spm_4xb4-152k_ade20k-480x480", (480, 480), 139.6 - 45.8, 45.8),
        ("spnet_r101-d8_4xb4-152k_ade20k-480x480", (480, 480), 211.3 - 45.8, 45.8),
        ("spnet_r50-d8_4xb2-67k_cityscapes-768x768", (768, 768), None, None),
        ("spnet_r101-d8_4xb2-67k_cityscapes-768x768", (1024, 2048), None, None),
    ],
)
def test_multiply_adds_of_the_published_networks(name, size, backbone, head):
    totals = {(768, 768): 364.4, (1024, 2048): 1914}
    with torch.device("meta"):
        model = MODELS.build(Config.fromfile(packaged_configs()[name]).model).eval()
        x = torch.empty(1, 3, *size)
        with use_references():
            of_backbone = multiply_adds(model.backbone, x)
            of_head = multiply_adds(model.decode_head, model.backbone(x))
    if backbone is None:
        assert (of_backbone + of_head) / 1e9 == pytest.approx(totals[size], rel=5e-4)
    else:
        assert of_backbone / 1e9 == pytest.approx(backbone, abs=0.11)
        assert of_head / 1e9 == pytest.approx(head, abs=0.06)


def test_parameters():
    with torch.device("meta"):
        head = SPHead(2048, num_classes=150, norm_cfg=NORM)
    assert round(sum(p.numel() for p in head.parameters()) / 1e6, 2) == 15.69
    assert head.channels == 512


def test_norms_by_default():
    given, by_default = (
        SPHead(16, num_classes=3, **kwargs) for kwargs in (dict(norm_cfg=NORM), {})
    )
    assert by_default.state_dict().keys() == given.state_dict().keys()


def test_options_reach_the_modules():
    head = SPHead(64, 24, num_classes=5, norm_cfg=NORM, bins=(6, 3, 1), align_corners=False)
    assert [block.bins for block in head.mixed_pooling] == [(6, 3, 1)] * 2
    assert not any(block.align_corners for block in head.mixed_pooling)
    logits = head([torch.randn(2, 64, 7, 9)])
    assert logits.shape == (2, 5, 7, 9)
    logits.sum().backward()
    assert all(p.grad is not None for p in head.parameters())


def test_bins_change_the_result_and_no_key():
    a = SPHead(32, num_classes=5, norm_cfg=NORM).eval()
    b = SPHead(32, num_classes=5, norm_cfg=NORM, bins=(12, 20)).eval()
    b.load_state_dict(a.state_dict(), strict=True)
    x = [torch.randn(1, 32, 27, 33)]
    with torch.no_grad():
        assert (a(x) - b(x)).abs().max() > 1e-4


def test_initialisation_is_pytorchs_unless_asked_otherwise():
    torch.manual_seed(0)
    head = SPHead(64, num_classes=5, norm_cfg=NORM)
    head.init_weights()
    bound = 16**-0.5
    assert 0.8 * bound < head.conv_seg.weight.abs().max() <= bound
    init_cfg = dict(type="Constant", val=0, override=dict(name="conv_seg"))
    head = SPHead(64, num_classes=5, norm_cfg=NORM, init_cfg=init_cfg)
    head.init_weights()
    assert not head.conv_seg.weight.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(in_channels=36), "in_channels must be a multiple of 8, got 36"),
        (dict(in_channels=(64, 64)), r"got \(64, 64\)"),
        (dict(bins=(0,)), r"bins must be .* got \(0,\)"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        SPHead(**{"in_channels": 64, "num_classes": 5, "norm_cfg": NORM, **options})
