"""AggregationModule: its shape, what it refuses, how it begins."""

import pytest
import torch

from mmseg_papers.models.layers import AggregationModule


@pytest.mark.parametrize("kernel_size", [1, 3, 11])
def test_keeps_the_size(kernel_size):
    module = AggregationModule(6, 4, kernel_size)
    assert module(torch.randn(2, 6, 5, 8)).shape == (2, 4, 5, 8)


def test_sees_a_square():
    """Two crossed lines one after the other reach every corner of k x k, and no further."""
    module = AggregationModule(1, 1, 5).eval()
    with torch.no_grad():
        module.reduce_conv = torch.nn.Identity()
        for conv in (module.t1, module.t2, module.p1, module.p2):
            conv.conv.weight.fill_(1)
        x = torch.zeros(1, 1, 9, 9)
        x[0, 0, 4, 4] = 1
        reached = module(x)[0, 0] > 1
    assert reached[2:7, 2:7].all()
    assert reached.sum() == 25


@pytest.mark.parametrize("kernel_size", [0, 4])
def test_refuses_an_even_kernel(kernel_size):
    with pytest.raises(ValueError, match=f"kernel_size .* odd.* got {kernel_size}"):
        AggregationModule(6, 4, kernel_size)


def test_refuses_to_go_without_a_norm():
    with pytest.raises(ValueError, match="norm_cfg must name a norm layer"):
        AggregationModule(6, 4, norm_cfg=None)


def test_begins_as_the_authors():
    """All channels counted as fan-out: the sum of the branches is about as small as eps."""
    module = AggregationModule(16, 512)
    stds = []
    module.norm.register_forward_hook(lambda _, xs, __: stds.append(xs[0].var().item()))
    module(torch.randn(2, 16, 12, 12))
    assert 1e-6 < stds[0] < 1e-4
