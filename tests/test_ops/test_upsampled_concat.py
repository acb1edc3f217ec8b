"""conv1x1_of_upsampled_concat against its plain form: value and gradient."""

import pytest
import torch

from mmseg_papers.ops import conv1x1_of_upsampled_concat, conv1x1_of_upsampled_concat_reference

SIZES = [[(12, 16), (6, 8), (3, 4)], [(13, 7), (7, 4), (1, 1)], [(1, 1), (1, 1), (1, 1)]]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("min_channels_low", [0, 3, 100])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradient(sizes, align_corners, min_channels_low, memory_format):
    xs = [
        torch.randn(2, c, *size, dtype=torch.float64).to(memory_format=memory_format)
        for c, size in zip((2, 3, 4), sizes, strict=True)
    ]
    weight, bias = torch.randn(5, 9, 1, 1).double(), torch.randn(5).double()
    inputs = [t.requires_grad_() for t in (*xs, weight, bias)]
    ours = conv1x1_of_upsampled_concat(xs, weight, bias, align_corners, min_channels_low)
    plain = conv1x1_of_upsampled_concat_reference(xs, weight, bias, align_corners)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(plain, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_refuses_a_weight_of_other_channels():
    xs = [torch.rand(1, 2, 4, 4), torch.rand(1, 3, 2, 2)]
    with pytest.raises(ValueError, match=r"\[2, 3\] channels need a weight of \(O, 5, 1, 1\)"):
        conv1x1_of_upsampled_concat(xs, torch.rand(4, 6, 1, 1))
