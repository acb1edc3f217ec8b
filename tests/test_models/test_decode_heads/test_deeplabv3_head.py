"""DeepLabV3's and V3+'s heads: mmseg's with its weights, the papers' counts, and refusals."""

import pytest
import torch
from mmseg.models.decode_heads import ASPPHead, DepthwiseSeparableASPPHead

from mmseg_papers.apis import multiply_adds
from mmseg_papers.models.backbones import AlignedXception, AtrousResNet
from mmseg_papers.models.decode_heads import DeepLabV3Head, DeepLabV3PlusHead
from mmseg_papers.ops import use_references

NORM = dict(type="BN")
SMALL = dict(in_channels=24, channels=12, num_classes=5, in_index=1, norm_cfg=NORM)


def maps():
    torch.manual_seed(0)
    return [torch.randn(2, 8, 17, 21), torch.randn(2, 24, 9, 11)]


@pytest.mark.parametrize("plus", [False, True])
def test_equals_mmseg_with_its_weights(plus):
    low = dict(c1_in_channels=8, c1_channels=4) if plus else {}
    theirs = (DepthwiseSeparableASPPHead if plus else ASPPHead)(align_corners=True, **SMALL, **low)
    ours = (DeepLabV3PlusHead if plus else DeepLabV3Head)(bottleneck_kernel=3, **SMALL, **low)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    xs = maps()
    with torch.no_grad():
        expected = theirs.eval()(xs)
        torch.testing.assert_close(ours.eval()(xs), expected, rtol=1e-4, atol=1e-5)
    assert expected.abs().mean() > 0.01


def test_own_weights_load_under_their_own_names():
    head = DeepLabV3PlusHead(c1_in_channels=8, **SMALL)
    other = DeepLabV3PlusHead(c1_in_channels=8, **SMALL)
    other.load_state_dict(head.state_dict(), strict=True)
    for a, b in zip(head.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("num_convs", [1, 2])
@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("decoder_separable", [None, False, True])
def test_decoder_options(num_convs, separable, decoder_separable):
    head = DeepLabV3PlusHead(
        c1_in_channels=8,
        num_convs=num_convs,
        separable=separable,
        decoder_separable=decoder_separable,
        **SMALL,
    ).train()
    has_depthwise = [
        any("depthwise" in name for name, _ in part.named_parameters())
        for part in (head.aspp, head.decoder)
    ]
    assert has_depthwise == [
        separable,
        separable if decoder_separable is None else decoder_separable,
    ]
    assert len(head.decoder.convs) == num_convs
    y = head(maps())
    assert y.shape == (2, 5, 17, 21)
    y.sum().backward()
    assert all(p.grad is not None for p in head.parameters())


def test_dropout_is_of_single_values_and_once():
    head = DeepLabV3Head(**SMALL)
    assert head.dropout is None
    assert type(head.aspp.dropout) is torch.nn.Dropout
    assert DeepLabV3Head(dropout_ratio=0, **SMALL).aspp.dropout.training


def giga(backbone, head, size):
    """Multiply-adds of both, in 10^9."""
    with use_references():
        x = torch.empty(1, 3, *size, device="meta")
        return multiply_adds(torch.nn.Sequential(backbone, head).eval(), x) / 1e9


def test_counts_of_deeplabv3plus_xception():
    """41.06 M parameters, 54.04 G multiply-adds at output stride 16 and 176.85 G at 8."""
    with torch.device("meta"):
        backbone = AlignedXception(65)
        head = DeepLabV3PlusHead(num_classes=21, in_index=3, norm_cfg=NORM)
    parameters = sum(p.numel() for m in (backbone, head) for p in m.parameters())
    assert round(parameters / 1e6, 2) == 41.06
    assert round(giga(backbone, head, (513, 513)), 2) == 54.04
    backbone.set_output_stride(8)
    head.aspp.set_output_stride(8)
    assert round(giga(backbone, head, (513, 513)), 2) == 176.85


def test_counts_of_xception_71():
    with torch.device("meta"):
        backbone = AlignedXception(71)
        head = DeepLabV3PlusHead(num_classes=19, in_index=3, norm_cfg=NORM)
    parameters = sum(p.numel() for m in (backbone, head) for p in m.parameters())
    assert round(parameters / 1e6, 2) == 43.48
    assert round(giga(backbone, head, (513, 513)), 2) == 66.06


def test_counts_of_deeplabv3_resnet_50():
    """39.17 M parameters, 55.4 G multiply-adds."""
    with torch.device("meta"):
        backbone = AtrousResNet(50, style="tensorflow", deep_stem=True, stem_channels=128)
        head = DeepLabV3Head(num_classes=21, in_index=3, norm_cfg=NORM)
    parameters = sum(p.numel() for m in (backbone, head) for p in m.parameters())
    assert round(parameters / 1e6, 2) == 39.17
    assert round(giga(backbone, head, (513, 513)), 1) == 55.4


def test_refuses_maps_of_other_widths():
    head = DeepLabV3PlusHead(c1_in_channels=8, **SMALL)
    low_level, x = maps()
    with pytest.raises(ValueError, match=r"in_channels=24, but the backbone's map 1 has 8"):
        head([low_level, low_level])
    with pytest.raises(ValueError, match=r"c1_in_channels=8, but the backbone's map 0 has 24"):
        head([x, x])


def test_refuses_other_convolutions():
    with pytest.raises(ValueError, match="conv_cfg must be None or Conv2d"):
        DeepLabV3Head(conv_cfg=dict(type="DCN"), **SMALL)
