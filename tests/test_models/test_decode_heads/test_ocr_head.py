"""OCR heads: mmseg's results where mmseg works, the authors' where it does not."""

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from mmseg.models.decode_heads import OCRHead
from mmseg.registry import MODELS

from mmseg_papers.models.decode_heads import ASPOCRHead, ObjectContextHead

WIDTHS = (4, 8, 16, 32)
OPTIONS = dict(num_classes=5, norm_cfg=dict(type="BN"))


def streams(size=(17, 22)):
    return [
        torch.rand(2, c, -(-size[0] // 2**r), -(-size[1] // 2**r)) for r, c in enumerate(WIDTHS)
    ]


def inputs(size=(17, 22)):
    return streams(size), torch.randn(2, 5, *size)


def mmsegs(scale=1, **options):
    return OCRHead(
        in_channels=WIDTHS,
        in_index=(0, 1, 2, 3),
        input_transform="resize_concat",
        channels=12,
        ocr_channels=6,
        scale=scale,
        dropout_ratio=0,
        **{**OPTIONS, **options},
    )


def ours(**options):
    options = {**dict(channels=12, ocr_channels=6, dropout_ratio=0), **OPTIONS, **options}
    return ObjectContextHead(WIDTHS, **options)


@pytest.mark.parametrize("align_corners", [False, True])
def test_equals_mmseg_with_its_weights(align_corners):
    theirs, head = (make(align_corners=align_corners) for make in (mmsegs, ours))
    head.load_state_dict(theirs.state_dict(), strict=True)
    xs, coarse = inputs()
    for mode in (True, False):
        a, b = theirs.train(mode)(xs, coarse), head.train(mode)(xs, coarse)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_mmseg_fails_where_ours_works():
    """mmseg pools after the projection and reshapes to the size before."""
    xs, coarse = inputs()
    with pytest.raises(RuntimeError, match="shape"):
        mmsegs(scale=2).eval()(xs, coarse)
    assert ours(scale=2).eval()(xs, coarse).shape == coarse.shape


def test_scale_is_no_temperature_of_the_gathering():
    """With constant pixels the attention's resolution changes nothing."""
    xs, coarse = inputs((16, 16))
    xs = [x[:, :, :1, :1].expand_as(x) for x in xs]
    plain, pooled = ours().eval(), ours(scale=2).eval()
    pooled.load_state_dict(plain.state_dict())
    inner = (slice(None), slice(None), slice(3, -3), slice(3, -3))  # the 3x3 conv pads with zeros
    a, b = plain(xs, coarse)[inner], pooled(xs, coarse)[inner]
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def asp(**options):
    options = {**dict(channels=10, asp_channels=6, dilations=(2, 3, 4)), **OPTIONS, **options}
    return ASPOCRHead(WIDTHS, **options)


@pytest.mark.parametrize("build", [ours, asp])
def test_gradients_reach_every_parameter(build):
    head = build()
    head(*inputs()).square().mean().backward()
    assert [name for name, p in head.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("build", [ours, asp])
def test_folded_batch_norm_changes_nothing(build):
    head = build().eval()
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    xs, coarse = inputs()
    with torch.no_grad():
        expected = head(xs, coarse)
        folded = fuse_conv_bn(head)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
        torch.testing.assert_close(folded(xs, coarse), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "options"), [("ObjectContextHead", {}), ("ASPOCRHead", dict(dilations=(1, 2, 3)))]
)
def test_reads_one_map_of_any_backbone(kind, options):
    options = dict(type=kind, in_channels=16, channels=8, in_index=2, **OPTIONS, **options)
    head = MODELS.build(options).eval()
    xs = streams()
    assert head(xs, torch.rand(2, 5, *xs[2].shape[2:])).shape == (2, 5, *xs[2].shape[2:])


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (ours, dict(scale=0), "scale must be an int of at least 1, got 0"),
        (ours, dict(conv_cfg=dict(type="DCN")), "conv_cfg must be None or Conv2d"),
        (asp, dict(dilations=()), r"dilations must be positive ints, got \(\)"),
        (asp, dict(dilations=(0, 1)), r"dilations must be positive ints, got \(0, 1\)"),
    ],
)
def test_refuses_options(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_refuses_maps_of_other_widths():
    xs, coarse = inputs()
    with pytest.raises(ValueError, match=r"in_channels=\(4, 8, 16, 32\), but .*\(32, 16, 8, 4\)"):
        ours()(xs[::-1], coarse)


def test_refuses_coarse_logits_of_another_size():
    xs, coarse = inputs()
    with pytest.raises(ValueError, match="coarse logits must have the features' size"):
        ours()(xs, coarse[:, :, ::2])
