"""conv1x1_pair: one convolution for two, with the gradients of two."""

import pytest
import torch

from mmseg_papers.ops import conv1x1_pair, conv1x1_pair_reference


@pytest.mark.parametrize("size", [(9, 7), (1, 2)])  # more and fewer positions than channels
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradient(size, layout):
    x = torch.randn(2, 5, *size, dtype=torch.float64).contiguous(memory_format=layout)
    first, second = (torch.randn(*s, 1, 1, dtype=torch.float64) for s in ((4, 5), (3, 4)))
    leaves = [t.requires_grad_() for t in (x, first, second)]
    ours, plain = conv1x1_pair(*leaves), conv1x1_pair_reference(*leaves)
    torch.testing.assert_close(ours, plain)
    upstream = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(ours, leaves, upstream),
        torch.autograd.grad(plain, leaves, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_one_convolution_where_it_pays():
    first, second = torch.rand(4, 5, 1, 1), torch.rand(3, 4, 1, 1)
    for size, convolutions in (((8, 8), 1), ((1, 2), 2)):
        with torch.profiler.profile() as profile:
            conv1x1_pair(torch.rand(1, 5, *size), first, second)
        calls = {event.key: event.count for event in profile.key_averages()}
        assert calls["aten::conv2d"] == convolutions


@pytest.mark.parametrize(
    ("first", "second"), [((4, 6, 1, 1), (3, 4, 1, 1)), ((4, 5, 1, 1), (3, 4, 3, 3))]
)
def test_refusals(first, second):
    with pytest.raises(ValueError, match=r"a map of 5 channels needs kernels \(M, 5, 1, 1\)"):
        conv1x1_pair(torch.rand(1, 5, 4, 4), torch.rand(first), torch.rand(second))
