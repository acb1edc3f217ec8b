"""The gate equals a plain multiplication, in value and gradient."""

from importlib import import_module

import pytest
import torch

from mmseg_papers.ops import gate_rows, gate_rows_reference
from mmseg_papers.ops.gate_rows import _backward, _forward

SHAPES = [(2, 3, 4, 5), (1, 5, 7, 1), (2, 3, 1, 6), (1, 1, 1, 1), (0, 3, 4, 5), (2, 70, 3, 19)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def inputs(shape, layout, dtype=torch.float64):
    x = torch.randn(shape).to(dtype).to(memory_format=layout).requires_grad_()
    gate = torch.rand(shape[:3]).to(dtype).requires_grad_()
    return x, gate


def loss(results):
    results = results if isinstance(results, tuple) else (results,)
    return sum((r * torch.linspace(-1, 1, r.numel()).view(r.shape)).sum() for r in results)


@pytest.mark.parametrize("with_mean", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_reference(shape, layout, with_mean):
    x, gate = inputs(shape, layout)
    got, expected = (f(x, gate, with_mean) for f in (gate_rows, gate_rows_reference))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
    y = got[0] if with_mean else got
    assert y.stride() == x.stride() or 1 in shape or y.numel() == 0
    grads = [torch.autograd.grad(loss(results), (x, gate)) for results in (got, expected)]
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradcheck(layout):
    x, gate = inputs((2, 3, 4, 5), layout)
    assert torch.autograd.gradcheck(lambda x, gate: gate_rows(x, gate, True), (x, gate))


def test_channels_last_gradient_in_several_blocks(monkeypatch):
    monkeypatch.setattr(import_module("mmseg_papers.ops.gate_rows"), "BLOCK_ELEMENTS", 50)
    x, gate = inputs((2, 3, 7, 5), torch.channels_last)
    grads = [
        torch.autograd.grad(loss(f(x, gate)), (x, gate)) for f in (gate_rows, gate_rows_reference)
    ]
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_precision(layout, dtype):
    x, gate = inputs((1, 4, 6, 300), layout, dtype)
    wide = x.detach().float().requires_grad_(), gate.detach().float().requires_grad_()
    grads = torch.autograd.grad(gate_rows(x, gate).sum(), (x, gate))
    expected = torch.autograd.grad(gate_rows_reference(*wide).sum(), wide)
    rtol = 4 * torch.finfo(dtype).eps
    for got, reference in zip(grads, expected, strict=True):
        torch.testing.assert_close(got.float(), reference, rtol=rtol, atol=rtol * 20)


def test_constant_map_becomes_one_of_rows():
    x, gate = inputs((2, 3, 1, 1), torch.contiguous_format)
    gate = torch.rand(2, 3, 9, dtype=torch.float64)
    y, mean = gate_rows(x, gate, True)
    assert y.shape == (2, 3, 9, 1)
    torch.testing.assert_close(y, x * gate[..., None])
    torch.testing.assert_close(mean, y[..., 0])


@pytest.mark.torch_2_4
@pytest.mark.parametrize("with_mean", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_compiles_without_a_graph_break(layout, with_mean):
    torch._dynamo.reset()
    compiled = torch.compile(gate_rows, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 3, 4, 5), (2, 3, 6, 7)):
        tensors = inputs(shape, layout)
        results = [f(*tensors, with_mean) for f in (compiled, gate_rows_reference)]
        torch.testing.assert_close(*results)
        torch.testing.assert_close(*(torch.autograd.grad(loss(r), tensors) for r in results))


@pytest.mark.torch_2_5
@pytest.mark.parametrize("with_mean", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_operator_is_well_behaved(layout, with_mean):
    x, gate = (t.detach() for t in inputs((2, 3, 4, 5), layout, torch.float32))
    torch.library.opcheck(torch.ops.mmseg_papers.gate_rows.default, (x, gate, with_mean))


@pytest.mark.triton_interpreter
@pytest.mark.parametrize("with_mean", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 3, 2, 5), (1, 70, 1, 19), (1, 2, 1, 300)])
def test_kernels_in_the_interpreter(shape, dtype, layout, with_mean):
    from mmseg_papers.ops.gate_rows_triton import gate_rows_backward_triton, gate_rows_triton

    x, gate = (v.detach() for v in inputs(shape, layout, dtype))
    dy = torch.randn(shape).to(dtype)
    dmean = torch.randn(shape[:3]).to(dtype) if with_mean else torch.empty(0, dtype=dtype)
    y, mean = torch.empty_like(x), torch.empty_like(dmean)
    gate_rows_triton(x, gate, y, mean)
    dx, dgate = torch.empty_like(x), torch.empty_like(gate)
    gate_rows_backward_triton(x, gate, dy, dmean, dx, dgate)
    expected = (
        *_forward(x.double(), gate.double(), with_mean),
        *_backward(x.double(), gate.double(), dy.double(), dmean.double()),
    )
    tolerance = 4 * torch.finfo(dtype).eps * shape[3] ** 0.5
    for got, reference in zip((y, mean, dx, dgate), expected, strict=True):
        torch.testing.assert_close(got.double(), reference, rtol=tolerance, atol=tolerance)


@pytest.mark.cuda
@pytest.mark.parametrize("layout", LAYOUTS)
def test_on_a_gpu(layout):
    x, gate = (v.detach().cuda().requires_grad_() for v in inputs((2, 70, 9, 300), layout))
    got, expected = (f(x, gate, True) for f in (gate_rows, gate_rows_reference))
    torch.testing.assert_close(got, expected)
    weights = [torch.randn_like(part) for part in expected]
    grads = [torch.autograd.grad(results, (x, gate), weights) for results in (got, expected)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    ("x", "gate", "error", "message"),
    [
        (torch.rand(2, 3, 4, 5), torch.rand(2, 3, 5), ValueError, "x has 4 rows and gate 5"),
        (torch.rand(2, 3, 4, 5), torch.rand(2, 4, 4), ValueError, r"gate \(N, C, H\), got"),
        (torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4).double(), TypeError, "one floating dtype"),
    ],
)
def test_bad_input(x, gate, error, message):
    with pytest.raises(error, match=message):
        gate_rows(x, gate)
