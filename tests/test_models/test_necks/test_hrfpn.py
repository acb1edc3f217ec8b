"""HighResolutionFPN: pooling level by level, options, what is refused."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

from mmseg_papers.models.necks import HighResolutionFPN

WIDTHS = (4, 8, 16, 64)


def streams(size=(32, 48)):
    return [
        torch.randn(1, c, -(-size[0] // 2**r), -(-size[1] // 2**r)).double()
        for r, c in enumerate(WIDTHS)
    ]


@pytest.mark.parametrize("size", [(32, 48), (25, 37)])
@pytest.mark.parametrize(("pooling_type", "pool"), [("AVG", F.avg_pool2d), ("MAX", F.max_pool2d)])
def test_levels_are_pools_of_the_first(size, pooling_type, pool):
    neck = HighResolutionFPN(WIDTHS, 6, pooling_type=pooling_type).double()
    xs = streams(size)
    up = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in xs]
    first = neck.reduction_conv(torch.cat(up, dim=1))
    levels = neck(xs)
    assert len(levels) == 5
    for i, (level, conv) in enumerate(zip(levels, neck.fpn_convs, strict=True)):
        torch.testing.assert_close(level, conv(pool(first, 2**i)))


def test_one_shared_conv():
    neck = HighResolutionFPN(WIDTHS, 6, share_conv=True).double()
    assert len(neck.fpn_convs) == 1
    sum(level.sum() for level in neck(streams())).backward()
    assert all(p.grad is not None for p in neck.parameters())


def test_strided_levels():
    """As mmdet's FCOS takes them."""
    levels = HighResolutionFPN(WIDTHS, 6, num_outs=3, stride=2).double()(streams())
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 24), (8, 12), (4, 6)]


def test_published_initialisation():
    neck = HighResolutionFPN((128, 128), 256)
    neck.init_weights()
    for conv in (neck.reduction_conv.conv, neck.fpn_convs[0].conv):
        assert conv.weight.std().item() == pytest.approx(conv.weight[0].numel() ** -0.5, rel=0.01)
        assert (conv.bias == 0).all()


def test_can_be_built_from_another_scope():
    """As a detector's config does."""
    neck = MODELS.build(dict(type="mmseg.HighResolutionFPN", in_channels=WIDTHS, num_outs=4))
    assert isinstance(neck, HighResolutionFPN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(pooling_type="MEAN"), "pooling_type must be one of AVG, MAX, got 'MEAN'"),
        (dict(num_outs=0), "num_outs must be at least 1, got 0"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        HighResolutionFPN(WIDTHS, **options)


def test_refuses_unfit_streams():
    neck = HighResolutionFPN(WIDTHS, 6).double()
    with pytest.raises(ValueError, match=r"HighResolutionFPN.in_channels=\(4, 8, 16, 64\), but"):
        neck(streams()[:3])
    with pytest.raises(ValueError, match=r"5 levels need .* 16 x 16, got 8 x 48"):
        neck(streams((8, 48)))
