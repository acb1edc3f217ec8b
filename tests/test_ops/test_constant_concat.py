"""conv_of_constant_concat equals expanding, concatenating and convolving."""

import pytest
import torch

from mmseg_papers.ops import conv_of_constant_concat, conv_of_constant_concat_reference


def inputs(size, kernel, rows=1, batch=2, dtype=torch.float64, constant=3):
    torch.manual_seed(0)
    shapes = [(batch, constant, rows, 1), (batch, 2, *size), (batch, 4, *size)]
    tensors = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    weight = torch.randn(5, constant + 6, kernel, kernel, dtype=dtype, requires_grad=True)
    return tensors[0], tensors[1:], weight, torch.randn(5, dtype=dtype, requires_grad=True)


def value_and_gradients(function, constant, maps, weight, bias):
    y = function(constant, maps, weight, bias)
    torch.manual_seed(1)
    y_grad = torch.randn(y.shape, dtype=y.dtype)
    return [y, *torch.autograd.grad(y, [constant, *maps, weight, bias], y_grad)]


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 4), (7, 1), (9, 8)])
@pytest.mark.parametrize("per_row", [False, True])
def test_equals_the_reference(kernel, size, per_row):
    args = inputs(size, kernel, rows=size[0] if per_row else 1)
    ours = value_and_gradients(conv_of_constant_concat, *args)
    plain = value_and_gradients(conv_of_constant_concat_reference, *args)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_gradcheck():
    constant, maps, weight, bias = inputs((3, 4), 3)
    assert torch.autograd.gradcheck(
        lambda c, a, b, w, v: conv_of_constant_concat(c, [a, b], w, v),
        (constant, *maps, weight, bias),
    )


@pytest.mark.parametrize("kernel", [1, 3])
def test_channels_last_and_half_precision(kernel):
    constant, maps, weight, bias = (
        x if isinstance(x, list) else x.detach() for x in inputs((6, 7), kernel)
    )
    maps = [x.detach().to(memory_format=torch.channels_last) for x in maps]
    expected = conv_of_constant_concat_reference(constant, maps, weight, bias)
    torch.testing.assert_close(conv_of_constant_concat(constant, maps, weight, bias), expected)
    half = conv_of_constant_concat(
        constant.bfloat16(), [x.bfloat16() for x in maps], weight.bfloat16(), bias.bfloat16()
    )
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), expected, rtol=0.05, atol=0.15)


def test_empty_batch_and_no_bias():
    constant, maps, weight, _ = inputs((3, 4), 3, batch=0)
    assert conv_of_constant_concat(constant, maps, weight).shape == (0, 5, 3, 4)


def test_refuses_shapes():
    constant, maps, weight, bias = inputs((3, 4), 3)
    with pytest.raises(ValueError, match=r"\[3, 2, 4\] channels .*\(O, 9, K, K\) with K odd"):
        conv_of_constant_concat(constant, maps, weight[:, 1:], bias)
    with pytest.raises(ValueError, match="K odd"):
        conv_of_constant_concat(constant, maps, weight[:, :, :2, :2], bias)
    with pytest.raises(ValueError, match=r"\(N, C, 3, 1\) beside maps of 3 x 4, got \(2, 3, 2, 1"):
        conv_of_constant_concat(constant.expand(-1, -1, 2, -1), maps, weight, bias)
    with pytest.raises(ValueError, match=r"maps must be at least one, .* got \[\]"):
        conv_of_constant_concat(constant, [], weight, bias)
    with pytest.raises(ValueError, match=r"of one size.* got \[\(2, 2, 3, 4\), \(2, 4, 2, 4\)\]"):
        conv_of_constant_concat(constant, [maps[0], maps[1][:, :, 1:]], weight, bias)
    with pytest.raises(ValueError, match="with N = 1 as the constant's"):
        conv_of_constant_concat(constant[:1], maps, weight, bias)
    with pytest.raises(ValueError, match=r"bias must be \(5,\), got \(4,\)"):
        conv_of_constant_concat(constant, maps, weight, bias[1:])
