"""strip_sum and strip_gate against their plain forms and the authors' interpolation."""

import importlib
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from mmseg_papers.ops import strip_gate, strip_gate_reference, strip_sum, strip_sum_reference

LAYOUTS = [torch.contiguous_format, torch.channels_last]
#: N, C, K, H, W
SIZES = [(2, 3, 3, 5, 7), (1, 4, 2, 1, 6), (2, 2, 5, 6, 1), (1, 3, 3, 1, 1), (0, 3, 3, 4, 5)]


def inputs(size, memory_format=torch.contiguous_format, dtype=torch.float64):
    """Map, strips, weight and bias."""
    n, c, k, h, w = size
    shapes = [(n, c, h, w), (n, k, h, 1), (n, k, 1, w), (c, k, 1, 1)]
    tensors = [torch.randn(s, dtype=dtype).to(memory_format=memory_format) for s in shapes]
    return [t.requires_grad_() for t in (*tensors, torch.randn(c, dtype=dtype))]


def assert_same_gradients(ours, plain, tensors):
    upstream = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(ours, tensors, upstream),
        torch.autograd.grad(plain, tensors, upstream),
        strict=True,
    ):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
def test_sum(size, memory_format):
    _x, row, column, *_ = inputs(size, memory_format)
    ours, plain = strip_sum(row, column), strip_sum_reference(row, column)
    assert torch.equal(ours, plain)
    assert ours.is_contiguous(memory_format=memory_format) or not len(ours)
    assert_same_gradients(ours, plain, [row, column])


@pytest.mark.parametrize("align_corners", [False, True])
def test_interpolating_a_strip_repeats_it(align_corners):
    _x, row, column, *_ = inputs((2, 3, 3, 9, 13))
    resized = [
        F.interpolate(y, (9, 13), mode="bilinear", align_corners=align_corners)
        for y in (row, column)
    ]
    torch.testing.assert_close(strip_sum(row, column), F.relu(sum(resized)), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
def test_gate(size, memory_format):
    tensors = inputs(size, memory_format)
    ours, plain = strip_gate(*tensors), strip_gate_reference(*tensors)
    torch.testing.assert_close(ours, plain)
    assert ours.is_contiguous(memory_format=memory_format) or not len(ours)
    assert_same_gradients(ours, plain, tensors)
    with torch.no_grad():
        torch.testing.assert_close(strip_gate(*tensors), plain)


def test_gradcheck():
    assert torch.autograd.gradcheck(strip_gate, inputs((2, 2, 3, 3, 4)))
    assert torch.autograd.gradcheck(strip_sum, inputs((2, 2, 3, 3, 4))[1:3])


def test_the_inputs_stay_as_they_were():
    tensors = [t.detach() for t in inputs(SIZES[0])]
    before = [t.clone() for t in tensors]
    strip_gate(*tensors)
    strip_sum(*tensors[1:3])
    assert all(map(torch.equal, tensors, before))


def saved_values(function, *tensors):
    """Number of values that autograd keeps, without the inputs'."""
    kept = {}
    own = {t.untyped_storage().data_ptr() for t in tensors}

    def pack(t):
        if t.untyped_storage().data_ptr() not in own:
            kept[t.untyped_storage().data_ptr()] = t.numel()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = function(*tensors)
    del y
    return sum(kept.values())


def test_keeps_the_gate_and_not_the_sum():
    tensors = inputs((1, 8, 8, 16, 16))
    numel = tensors[0].numel()
    assert saved_values(strip_gate, *tensors) == numel
    assert saved_values(strip_gate_reference, *tensors) == 2 * numel


def test_bfloat16():
    tensors = inputs((1, 8, 8, 6, 5), dtype=torch.bfloat16)
    ours = strip_gate(*tensors)
    assert ours.dtype == torch.bfloat16
    plain = strip_gate_reference(*(t.float() for t in tensors))
    torch.testing.assert_close(ours.float(), plain, rtol=2e-2, atol=2e-2)
    for t, grad in zip(tensors, torch.autograd.grad(ours.sum(), tensors), strict=True):
        assert grad.dtype == torch.bfloat16
        assert grad.shape == t.shape


def test_autocast_leaves_the_dtype_of_the_map():
    x, row, column, weight, bias = inputs((1, 4, 4, 3, 5), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = strip_gate(x.bfloat16(), row.bfloat16(), column.bfloat16(), weight, bias)
        full = strip_gate(x, row, column, weight, bias)
    assert half.dtype == torch.bfloat16
    assert full.dtype == torch.float32
    torch.testing.assert_close(full, strip_gate_reference(x, row, column, weight, bias))
    half.sum().backward()
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("place", "value", "error", "message"),
    [
        (0, torch.rand(2, 3, 5, 8), ValueError, r"map of \(2, C, 5, 7\), got \(2, 3, 5, 8\)"),
        (0, torch.ones(2, 3, 5, 7, dtype=torch.int32), TypeError, r"torch\.int32"),
        (1, torch.rand(2, 3, 1, 5), ValueError, r"strips .* got \(2, 3, 1, 5\)"),
        (2, torch.rand(2, 4, 1, 7), ValueError, r"and \(2, 4, 1, 7\)"),
        (3, torch.rand(3, 2, 1, 1), ValueError, r"\(3, 3, 1, 1\) .* got \(3, 2, 1, 1\)"),
        (4, torch.rand(2), ValueError, r"got \(3, 3, 1, 1\) and \(2,\)"),
    ],
)
def test_refusals(place, value, error, message):
    tensors = inputs(SIZES[0])
    tensors[place] = value
    with pytest.raises(error, match=message):
        strip_gate(*tensors)


@pytest.mark.torch_2_4
@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_compiles_without_a_graph_break(memory_format):
    torch._dynamo.reset()

    def both(x, row, column, weight, bias):
        return strip_gate(x, row, column, weight, bias) + strip_sum(row, column)

    tensors = inputs(SIZES[0], memory_format)
    ours = torch.compile(both, fullgraph=True, backend="aot_eager")(*tensors)
    plain = strip_gate_reference(*tensors) + strip_sum_reference(*tensors[1:3])
    torch.testing.assert_close(ours, plain)
    assert_same_gradients(ours, plain, tensors)


@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_the_backward_pass_makes_no_zeros(memory_format):
    """As PyTorch would for the output that has no gradient."""
    y = strip_gate(*inputs(SIZES[0], memory_format))
    with torch.profiler.profile() as profiler:
        y.backward(torch.randn_like(y))
    assert "aten::zeros" not in {event.key for event in profiler.key_averages()}


@pytest.mark.torch_2_5
@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_operators_are_registered_as_torch_wants(memory_format):
    tensors = [t.detach() for t in inputs(SIZES[0], memory_format)]
    ops = torch.ops.mmseg_papers
    for keeps_gate in (False, True):
        torch.library.opcheck(ops.strip_gate, (*tensors, keeps_gate))
    x, *others = tensors
    gate = x.sigmoid()
    torch.library.opcheck(ops.strip_gate_backward, (x, *tensors[:4], gate))
    # What compiled code is told about strides, where map, strips and gradient have unlike ones.
    for of_x, of_strips, of_grad in product(LAYOUTS, repeat=3):
        row, column = (t.contiguous(memory_format=of_strips) for t in others[:2])
        mixed = (x.contiguous(memory_format=of_x), row, column, *others[2:])
        torch.library.opcheck(ops.strip_gate, (*mixed, True), test_utils="test_faketensor")
        grad = x.contiguous(memory_format=of_grad)
        arguments = (grad, *mixed[:4], gate.contiguous(memory_format=of_x))
        torch.library.opcheck(ops.strip_gate_backward, arguments, test_utils="test_faketensor")


@pytest.mark.torch_2_7
def test_an_exported_program_holds_stock_operators_only():
    class Gate(torch.nn.Module):
        def forward(self, *tensors):
            return strip_gate(*tensors) + strip_sum(*tensors[1:3])

    tensors = tuple(t.detach() for t in inputs(SIZES[0]))
    program = torch.export.export(Gate(), tensors)
    targets = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert targets
    assert all(t.startswith("aten.") for t in targets)


@pytest.mark.triton_interpreter
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("size", [*SIZES, (1, 65, 34, 3, 23)])
def test_kernels_in_the_interpreter(size, memory_format):
    module = importlib.import_module("mmseg_papers.ops.strip_gate")
    kernels = importlib.import_module("mmseg_papers.ops.strip_gate_triton")
    tensors = [t.detach() for t in inputs(size, memory_format, torch.float32)]
    expected, expected_gate = module._forward(*tensors, True)
    out, gate = kernels.strip_gate_triton(*tensors, True)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gate, expected_gate)
    assert out.is_contiguous(memory_format=memory_format) or not len(out)
    out, gate = kernels.strip_gate_triton(*tensors, False)
    torch.testing.assert_close(out, expected)
    assert gate.numel() == 0
    x, grad = tensors[0], torch.randn(tensors[0].shape)
    grad_x, grad_logits = kernels.gate_backward_triton(grad, x, expected_gate)
    torch.testing.assert_close(grad_x, grad * expected_gate)
    torch.testing.assert_close(
        grad_logits, grad * x * expected_gate * (1 - expected_gate), rtol=1e-5, atol=1e-6
    )


@pytest.mark.triton_interpreter
def test_kernel_reads_a_bias_of_any_strides(strided):
    kernels = importlib.import_module("mmseg_papers.ops.strip_gate_triton")
    *tensors, bias = (t.detach() for t in inputs(SIZES[0], dtype=torch.float32))
    out, _ = kernels.strip_gate_triton(*tensors, strided(bias), False)
    torch.testing.assert_close(out, strip_gate_reference(*tensors, strided(bias)))


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("size", [*SIZES, (2, 65, 65, 20, 33)])
def test_cuda(size, memory_format, dtype, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    tensors = [t.detach().cuda().requires_grad_() for t in inputs(size, memory_format, dtype)]
    ours, plain = strip_gate(*tensors), strip_gate_reference(*tensors)
    tolerance = dict(rtol=4e-2, atol=4e-2) if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(ours, plain, **tolerance)
    upstream = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(ours, tensors, upstream),
        torch.autograd.grad(plain, tensors, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, **(tolerance or dict(rtol=1e-4, atol=1e-4)))
