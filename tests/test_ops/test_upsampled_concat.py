"""Convs of an upsampled concat against their plain forms: value, gradient, compilation, module."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_papers.ops.upsampled_concat import (
    conv1x1_of_upsampled_concat,
    conv1x1_of_upsampled_concat_reference,
    conv3x3_of_upsampled_concat,
    conv3x3_of_upsampled_concat_reference,
)

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


class ConvolvedSizes(TorchDispatchMode):
    """Remembers the shape of every convolution's input."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.shapes.append(tuple(args[0].shape[1:]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("min_channels_low", "shapes"),
    [
        (4, [(5, 8, 8), (4, 2, 2)]),
        (3, [(2, 8, 8), (3, 4, 4), (4, 2, 2)]),
        (5, [(9, 8, 8)]),
    ],
)
def test_wide_maps_are_convolved_at_their_own_resolution(min_channels_low, shapes):
    xs = [torch.rand(1, 2, 8, 8), torch.rand(1, 3, 4, 4), torch.rand(1, 4, 2, 2)]
    with ConvolvedSizes() as seen:
        conv1x1_of_upsampled_concat(xs, torch.rand(6, 9, 1, 1), min_channels_low=min_channels_low)
    assert seen.shapes == shapes


@pytest.mark.parametrize("bias", [False, True])
def test_module_has_the_parameters_of_a_convolution(bias):
    torch.manual_seed(0)
    layer = MODELS.build(
        dict(
            type="Conv1x1OfUpsampledConcat",
            in_channels=(2, 60),
            out_channels=4,
            bias=bias,
            align_corners=True,
        )
    )
    torch.manual_seed(0)
    conv = nn.Conv2d(62, 4, 1, bias=bias)
    for (name, ours), (expected_name, expected) in zip(
        layer.named_parameters(), conv.named_parameters(), strict=True
    ):
        assert name == expected_name
        assert torch.equal(ours, expected)
    xs = [torch.rand(1, 2, 5, 6), torch.rand(1, 60, 3, 2)]
    plain = conv1x1_of_upsampled_concat_reference(xs, conv.weight, conv.bias, align_corners=True)
    torch.testing.assert_close(layer(xs), plain)
    with pytest.raises(ValueError, match=r"\(2, 60\) channels are expected, got \(60, 2\)"):
        layer(xs[::-1])


#: Operation, its plain form, size of the kernel.
BOTH = pytest.mark.parametrize(
    ("operation", "reference", "kernel"),
    [
        (conv1x1_of_upsampled_concat, conv1x1_of_upsampled_concat_reference, 1),
        (conv3x3_of_upsampled_concat, conv3x3_of_upsampled_concat_reference, 3),
    ],
    ids=["1x1", "3x3"],
)


def maps_and_weight(batch, kernel):
    """Two maps, of which either operation convolves the second at its own resolution."""
    xs = [torch.rand(batch, 2, 8, 12), torch.rand(batch, 60, 2, 3)]
    return xs, torch.randn(5, 62, kernel, kernel) / (8 * kernel)


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(operation, reference, kernel, dtype):
    xs, weight = maps_and_weight(2, kernel)
    ours = operation([x.to(dtype) for x in xs], weight.to(dtype))
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.float(), reference(xs, weight), rtol=0.05, atol=0.05)


@BOTH
def test_empty_batch(operation, reference, kernel):
    ours = operation(*maps_and_weight(0, kernel))
    assert ours.shape == reference(*maps_and_weight(0, kernel)).shape == (0, 5, 8, 12)


@BOTH
@pytest.mark.torch_2_4
def test_compiles_without_a_graph_break(operation, reference, kernel):
    torch._dynamo.reset()
    xs, weight = maps_and_weight(1, kernel)
    weight.requires_grad_()
    compiled = torch.compile(operation, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(xs, weight), reference(xs, weight))
    compiled(xs, weight).sum().backward()
    assert weight.grad is not None


# The last map's height is at most a quarter of the first one's, so it is convolved at its own.
SIZES_3X3 = [[(16, 24), (8, 12), (4, 6)], [(13, 7), (7, 4), (3, 1)], [(9, 1), (4, 1), (1, 1)]]


@pytest.mark.parametrize("sizes", [*SIZES_3X3, *SIZES])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("dilation", [1, 3, 20])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_3x3_value_and_gradient(sizes, align_corners, dilation, memory_format):
    xs = [
        torch.randn(2, c, *size, dtype=torch.float64).to(memory_format=memory_format)
        for c, size in zip((2, 3, 4), sizes, strict=True)
    ]
    weight, bias = torch.randn(5, 9, 3, 3).double(), torch.randn(5).double()
    inputs = [t.requires_grad_() for t in (*xs, weight, bias)]
    ours = conv3x3_of_upsampled_concat(xs, weight, bias, align_corners, dilation)
    plain = conv3x3_of_upsampled_concat_reference(xs, weight, bias, align_corners, dilation)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(plain, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_3x3_low_maps_are_convolved_at_their_own_height():
    xs = [torch.rand(1, 2, 8, 12), torch.rand(1, 3, 4, 6), torch.rand(1, 4, 2, 3)]
    with ConvolvedSizes() as seen:
        conv3x3_of_upsampled_concat(xs, torch.rand(6, 9, 3, 3))
    assert seen.shapes == [(5, 8, 12), (4, 2, 12)]


def test_3x3_keeps_the_layout():
    xs = [torch.rand(2, c, 16 >> r, 16 >> r) for r, c in ((0, 4), (2, 4))]
    xs = [x.to(memory_format=torch.channels_last) for x in xs]
    y = conv3x3_of_upsampled_concat(xs, torch.rand(4, 8, 3, 3))
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_3x3_refuses_a_weight_of_other_channels():
    xs = [torch.rand(1, 2, 4, 4), torch.rand(1, 3, 2, 2)]
    with pytest.raises(ValueError, match=r"\[2, 3\] channels need a weight of \(O, 5, 3, 3\)"):
        conv3x3_of_upsampled_concat(xs, torch.rand(4, 5, 1, 1))


@pytest.mark.torch_2_7
def test_3x3_exports_its_plain_form():
    class Layer(nn.Conv2d):
        def forward(self, x, low):
            return conv3x3_of_upsampled_concat([x, low], self.weight, self.bias)

    inputs = torch.rand(1, 2, 8, 8), torch.rand(1, 6, 2, 2)
    layer = Layer(8, 3, 3)
    program = torch.export.export(layer, inputs)
    assert "baddbmm" not in str(program.graph)
    torch.testing.assert_close(program.module()(*inputs), layer(*inputs))
