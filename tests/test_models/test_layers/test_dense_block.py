"""Dense layers, blocks and transitions. Their values are compared in tests/test_reference.py."""

import pytest
import torch
from torch import nn

from mmseg_papers.models.layers import DenseBlock, DenseLayer, DenseTransition


@pytest.mark.parametrize("pre_norm", [True, False])
def test_a_layer_leaves_its_input_as_it_is(pre_norm):
    """The authors' first layer does not: its in-place ReLU reaches all later ones."""
    x = torch.randn(2, 4, 5, 6)
    before = x.clone()
    DenseLayer(4, 8, 2, pre_norm=pre_norm)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("bias", [False, True])
def test_parameters_of_a_layer(bias):
    layer = DenseLayer(4, 8, 2, dilation=3, bias=bias)
    convs = 4 * 8 + 9 * 8 * 2 + bias * (8 + 2)
    assert sum(p.numel() for p in layer.parameters()) == convs + 2 * 4 + 2 * 8
    assert layer.conv2.padding == layer.conv2.dilation == (3, 3)


def test_with_cp_changes_no_statistics():
    """Running a batch norm once more for the backward pass would update them once more."""
    layers = [DenseLayer(4 + 2 * i, 8, 2) for i in range(3)]
    block = DenseBlock(*layers, with_cp=True)
    x = torch.randn(2, 4, 5, 6)
    block(x).square().mean().backward()
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.num_batches_tracked == 1 for norm in norms)
    torch.testing.assert_close(layers[0].norm1.running_mean, 0.1 * x.mean((0, 2, 3)))


@pytest.mark.parametrize(("pool", "size"), [(True, (3, 4)), (False, (7, 9))])
def test_a_transition_rounds_down(pool, size):
    transition = DenseTransition(6, 3, pool=pool)
    assert transition(torch.randn(1, 6, 7, 9)).shape == (1, 3, *size)


def test_norms_are_configurable():
    norm_cfg = dict(type="GN", num_groups=2)
    block = DenseBlock(DenseLayer(4, 8, 2, norm_cfg=norm_cfg))
    parts = nn.Sequential(block, DenseTransition(6, 3, norm_cfg=norm_cfg))
    assert parts(torch.randn(1, 4, 5, 6)).shape == (1, 3, 5, 6)
    assert sum(isinstance(m, nn.GroupNorm) for m in parts.modules()) == 3
