"""Parts of a RefineNet block. What they compute is compared in tests/test_reference.py."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from mmseg_papers.models.layers import (
    ChainedResidualPooling,
    FeaturePath,
    RefineBlock,
    ResidualConvUnit,
)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_residual_conv_unit():
    unit = ResidualConvUnit(8)
    assert parameters(unit) == 18 * 8**2 + 8
    x = -torch.rand(1, 8, 5, 6)
    y = unit(x)
    assert (x < 0).all(), "the input is left as it is"
    with torch.no_grad():
        unit.conv2.weight.zero_()
    assert torch.equal(unit(x), x), "the residual is not rectified"
    assert y.shape == x.shape


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_the_order_of_pooling_is_in_the_names_and_in_the_result(kernel_size):
    first, improved = (
        ChainedResidualPooling(4, 3, order, kernel_size).double() for order in (True, False)
    )
    with pytest.raises(RuntimeError, match=r"Missing key.*conv_pools"):
        improved.load_state_dict(first.state_dict())
    improved.conv_pools.load_state_dict(first.pool_convs.state_dict())
    x = torch.rand(1, 4, 9, 9, dtype=torch.float64)
    pool = nn.MaxPool2d(5, 1, 2)
    total_first = total_improved = a = b = x
    for conv in first.pool_convs:
        a, b = conv(pool(a)), pool(conv(b))
        total_first, total_improved = total_first + a, total_improved + b
    torch.testing.assert_close(first(x), total_first)
    torch.testing.assert_close(improved(x), total_improved)
    assert (total_first - total_improved).abs().max() > 0.01


def test_path_of_a_block_with_one_input_has_no_fusion_conv():
    alone, one_of_many = FeaturePath(6, 4), FeaturePath(6, 4, 3)
    assert not any(name.startswith("fusion") for name in alone.state_dict())
    x = torch.rand(1, 6, 5, 5)
    assert alone(x).shape == (1, 4, 5, 5)
    assert one_of_many(x).shape == (1, 3, 5, 5)


def test_light_path_equals_its_two_convs():
    path = FeaturePath(6, 4, 4, num_units=0, kernel_size=1).double()
    x = torch.rand(2, 6, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(path(x), path.fusion(path.reduction(x)))


@pytest.mark.parametrize("part", ["reduction", "fusion"])
def test_convs_of_a_light_path_are_called_if_they_are_pruned_or_hooked(part):
    path, seen = FeaturePath(6, 4, 4, num_units=0, kernel_size=1), []
    conv = getattr(path, part)
    prune.l1_unstructured(conv, "weight", 0.5)
    x = torch.rand(2, 6, 5, 5)
    for _ in range(2):
        path(x).sum().backward()  # pruning makes the weight anew in each call
    assert ((conv.weight_orig.grad == 0) == (conv.weight_mask == 0)).all()
    prune.remove(conv, "weight")
    conv.register_forward_hook(lambda *_: seen.append(part))
    path(x)
    assert seen == [part]


@pytest.mark.parametrize("options", [{}, dict(align_corners=False), dict(fusion_mode="bicubic")])
def test_block_resizes_to_the_largest_sides(options):
    block = RefineBlock(4, 3, num_units=1, num_pool_stages=1, **options)
    maps = [torch.rand(1, 4, 3, 9), torch.rand(1, 4, 7, 5)]
    assert block(maps).shape == (1, 3, 7, 9)
    assert (block.fuse(maps) >= 0).all()


def test_relu6_limits_the_sum():
    block = RefineBlock(2, relu6=True, kernel_size=1, num_units=0)
    assert block.fuse([torch.full((1, 2, 3, 3), 4.0)] * 2).max() == 6


def test_refuses_an_unknown_fusion_mode():
    with pytest.raises(ValueError, match="must be one of bilinear, bicubic, got 'area'"):
        RefineBlock(4, fusion_mode="area")
