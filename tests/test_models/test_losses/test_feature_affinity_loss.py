"""DSRL's loss: grid, reduction, weight, options."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

from mmseg_papers.models.losses import FeatureAffinityLoss
from mmseg_papers.ops import feature_affinity_reference


def test_maps_of_two_strides_meet_on_one_grid():
    x, y = torch.randn(2, 5, 16, 24), torch.randn(2, 3, 8, 12)
    loss = MODELS.build(dict(type="FeatureAffinityLoss", grid_stride=16))
    got = loss(x, y, (64, 96))
    expected = feature_affinity_reference(F.avg_pool2d(x, 4), F.avg_pool2d(y, 2)).mean()
    torch.testing.assert_close(got, expected)


def test_full_size_maps_lose_what_fills_no_cell():
    x, y = torch.randn(1, 5, 37, 50), torch.randn(1, 3, 37, 50)
    got = FeatureAffinityLoss(grid_stride=16)(x, y)
    expected = FeatureAffinityLoss(grid_stride=16)(x[:, :, :32, :48], y[:, :, :32, :48])
    torch.testing.assert_close(got, expected)


def test_images_smaller_than_a_cell_make_one():
    x, y = torch.randn(1, 5, 4, 6), torch.randn(1, 3, 4, 6)
    loss = FeatureAffinityLoss(grid_stride=16, normalize=False)
    expected = (x.mean((2, 3)).square().sum() - y.mean((2, 3)).square().sum()).abs()
    torch.testing.assert_close(loss(x, y), expected)


@pytest.mark.parametrize("p", [1, 2])
def test_reduction_and_weight(p):
    x, y = torch.randn(3, 5, 6, 6), torch.randn(3, 4, 6, 6)
    one = FeatureAffinityLoss(p=p, grid_stride=1)(x, y)
    torch.testing.assert_close(one, feature_affinity_reference(x, y, p=p).mean())
    total = FeatureAffinityLoss(p=p, grid_stride=1, reduction="sum", loss_weight=0.5)(x, y)
    torch.testing.assert_close(total, 0.5 * 3 * one)


def test_empty_batch():
    x = torch.randn(0, 5, 16, 16, requires_grad=True)
    loss = FeatureAffinityLoss()(x, torch.randn(0, 3, 16, 16))
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(p=0), "p must be 1 or 2, got 0"),
        (dict(reduction="none"), "reduction must be one of mean, sum, got 'none'"),
        (dict(grid_stride=0), "grid_stride must be an int >= 1, got 0"),
        (dict(grid_stride=0.5), "grid_stride must be an int >= 1, got 0.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        FeatureAffinityLoss(**options)
