"""strip_means against plain means and the authors' adaptive pooling."""

import importlib

import pytest
import torch
import torch.nn.functional as F

from mmseg_papers.ops import strip_means, strip_means_reference

LAYOUTS = [torch.contiguous_format, torch.channels_last]
SHAPES = [(2, 3, 5, 7), (1, 4, 1, 6), (2, 2, 6, 1), (1, 3, 1, 1), (0, 3, 4, 5)]


def random_map(shape, memory_format=torch.contiguous_format, dtype=torch.float64):
    x = torch.randn(shape, dtype=dtype).to(memory_format=memory_format)
    return x.requires_grad_()


@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradient(shape, memory_format):
    x = random_map(shape, memory_format)
    ours, plain = strip_means(x), strip_means_reference(x)
    upstream = [torch.randn_like(y) for y in plain]
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)
        assert a.is_contiguous(memory_format=memory_format) or not len(x)
    (a,) = torch.autograd.grad(ours, x, upstream)
    (b,) = torch.autograd.grad(plain, x, upstream)
    torch.testing.assert_close(a, b)
    assert a.is_contiguous(memory_format=memory_format) or not len(x)


def test_equals_adaptive_pooling():
    x = random_map((2, 3, 27, 41))
    row, column = strip_means(x)
    torch.testing.assert_close(row, F.adaptive_avg_pool2d(x, (None, 1)), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(column, F.adaptive_avg_pool2d(x, (1, None)), rtol=1e-14, atol=1e-14)


def test_a_slice_of_a_larger_map():
    x = random_map((2, 6, 5, 7))
    for a, b in zip(strip_means(x[:, 2:4]), strip_means_reference(x[:, 2:4]), strict=True):
        torch.testing.assert_close(a, b)


def test_gradcheck():
    assert torch.autograd.gradcheck(strip_means, random_map((2, 2, 3, 4)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_half_precision_adds_in_float32(dtype, memory_format):
    # In bfloat16, a sum stops growing at 256.
    x = torch.ones(1, 2, 3, 3000, dtype=dtype).to(memory_format=memory_format).requires_grad_()
    row, column = strip_means(x)
    assert row.dtype == column.dtype == dtype
    assert torch.equal(row, torch.ones_like(row))
    assert torch.equal(column, torch.ones_like(column))
    assert torch.autograd.grad(column.sum(), x)[0].dtype == dtype


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.rand(3, 4, 5), ValueError, r"got \(3, 4, 5\)"),
        (torch.rand(1, 3, 0, 5), ValueError, r"at least 1, got \(1, 3, 0, 5\)"),
        (torch.ones(1, 3, 4, 5, dtype=torch.int64), TypeError, r"torch\.int64"),
    ],
)
def test_refusals(x, error, message):
    with pytest.raises(error, match=message):
        strip_means(x)


def test_second_derivative():
    x = random_map((2, 3, 4, 5), torch.contiguous_format).double().detach().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: [y.square() for y in strip_means(x)], x)


@pytest.mark.torch_2_4
@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_compiles_without_a_graph_break(memory_format):
    torch._dynamo.reset()
    x = random_map((2, 3, 4, 5), memory_format)
    ours = torch.compile(strip_means, fullgraph=True, backend="aot_eager")(x)
    plain = strip_means_reference(x)
    torch.testing.assert_close(ours, plain)
    upstream = [torch.randn_like(y) for y in plain]
    torch.testing.assert_close(
        torch.autograd.grad(ours, x, upstream), torch.autograd.grad(plain, x, upstream)
    )


@pytest.mark.torch_2_5
@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_operator_is_registered_as_torch_wants(memory_format):
    x = random_map((2, 3, 4, 5), memory_format)
    torch.library.opcheck(torch.ops.mmseg_papers.strip_means, (x.detach(),))


@pytest.mark.torch_2_7
def test_an_exported_program_holds_stock_operators_only():
    class Means(torch.nn.Module):
        def forward(self, x):
            return strip_means(x)

    program = torch.export.export(Means(), (torch.rand(1, 2, 3, 4),))
    targets = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert targets
    assert all(t.startswith("aten.") for t in targets)


@pytest.mark.triton_interpreter
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("shape", [*SHAPES, (1, 35, 3, 4), (1, 1, 9, 70)])
def test_kernel_in_the_interpreter(shape, memory_format):
    kernel = importlib.import_module("mmseg_papers.ops.strip_means_triton")
    x = random_map(shape, memory_format).detach()
    row, column = kernel.row_and_column_sums_triton(x, torch.float64)
    torch.testing.assert_close(row, x.sum(3, keepdim=True), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(column, x.sum(2, keepdim=True), rtol=1e-12, atol=1e-12)
    for y in (row, column) if len(x) else ():
        assert y.is_contiguous(memory_format=memory_format)


@pytest.mark.triton_interpreter
def test_kernel_adds_half_precision_in_float32():
    kernel = importlib.import_module("mmseg_papers.ops.strip_means_triton")
    x = torch.ones(1, 1, 2, 3000, dtype=torch.float16)
    row, _column = kernel.row_and_column_sums_triton(x, torch.float32)
    assert row.flatten().tolist() == [3000.0, 3000.0]


@pytest.mark.cuda
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("shape", [*SHAPES, (2, 64, 60, 130)])
def test_cuda(shape, memory_format):
    x = random_map(shape, memory_format, torch.float32).detach().cuda().requires_grad_()
    ours, plain = strip_means(x), strip_means_reference(x)
    torch.testing.assert_close(ours, plain)
    upstream = [torch.randn_like(y) for y in plain]
    torch.testing.assert_close(
        torch.autograd.grad(ours, x, upstream), torch.autograd.grad(plain, x, upstream)
    )
