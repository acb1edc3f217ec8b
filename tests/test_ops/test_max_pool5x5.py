"""max_pool5x5 against PyTorch's pooling: value and gradient to the bit, memory, kernels."""

import importlib

import pytest
import torch
from mmengine.registry import MODELS

from mmseg_papers.ops import max_pool5x5, max_pool5x5_reference

LAYOUTS = [torch.contiguous_format, torch.channels_last]
SHAPES = [(2, 3, 11, 17), (1, 8, 1, 1), (2, 4, 3, 4), (3, 5, 1, 9), (1, 2, 30, 5), (2, 1, 5, 7)]


def module():
    return importlib.import_module("mmseg_papers.ops.max_pool5x5")


def tied(shape, layout=torch.contiguous_format, dtype=torch.float32):
    """Few values, so that windows hold equal ones; some windows hold -inf only."""
    x = (2 * torch.randn(shape)).round()
    x[x < -2] = -torch.inf
    x[..., : shape[-1] // 2] = -torch.inf
    return x.to(dtype).contiguous(memory_format=layout)


def value_and_gradient(function, x, upstream):
    x = x.clone().requires_grad_()
    y = function(x)
    return y.detach(), torch.autograd.grad(y, x, upstream)[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("block", [1, 700, 1 << 17])
def test_equal_to_the_bit(shape, layout, dtype, block, monkeypatch):
    monkeypatch.setattr(module(), "BLOCK", block)
    for x in (torch.randn(shape).to(dtype).contiguous(memory_format=layout), tied(shape, layout)):
        upstream = torch.randn_like(x)
        y, grad = value_and_gradient(max_pool5x5, x, upstream)
        expected_y, expected_grad = value_and_gradient(max_pool5x5_reference, x, upstream)
        assert torch.equal(y, expected_y)
        assert torch.equal(grad, expected_grad)
        assert torch.equal(max_pool5x5(x), expected_y)  # without a gradient: another path
        assert y.stride() == x.stride()


def test_gradcheck():
    x = torch.randn(1, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(max_pool5x5, x)


def test_not_a_number_spreads_and_harms_nothing_else():
    x = torch.randn(1, 1, 12, 12)
    x[0, 0, 0, 0] = torch.nan
    y, grad = value_and_gradient(max_pool5x5, x, torch.ones_like(x))
    assert torch.equal(y.isnan(), max_pool5x5_reference(x).isnan())
    assert grad.sum() == x.numel()


def test_views_are_pooled_as_what_they_show():
    x = torch.randn(2, 6, 9, 8).permute(0, 1, 3, 2)[:, ::2]
    assert torch.equal(max_pool5x5(x), max_pool5x5_reference(x))


def test_empty_batch():
    x = torch.rand(0, 2, 4, 4, requires_grad=True)
    y = max_pool5x5(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == (0, 2, 4, 4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_keeps_one_byte_an_element(layout):
    x = torch.randn(2, 3, 20, 30).contiguous(memory_format=layout).requires_grad_()
    kept = {}
    for name, function in (("ours", max_pool5x5), ("stock", max_pool5x5_reference)):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.append(t.numel() * t.element_size()) or t, lambda t: t
        ):
            function(x * 1)
        kept[name] = sum(sizes) / x.numel()
    assert kept == {"ours": 1, "stock": 12}  # the multiplication keeps nothing


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.rand(3, 4, 4), ValueError, r"\(N, C, H, W\).* got \(3, 4, 4\)"),
        (torch.rand(1, 3, 0, 4), ValueError, r"at least 1, got \(1, 3, 0, 4\)"),
        (torch.ones(1, 1, 2, 2, dtype=torch.int64), TypeError, r"got torch\.int64"),
    ],
)
def test_refusals(x, error, message):
    with pytest.raises(error, match=message):
        max_pool5x5(x)


def test_module():
    x = torch.randn(1, 2, 6, 7)
    assert torch.equal(MODELS.build(dict(type="MaxPool5x5"))(x), max_pool5x5_reference(x))


@pytest.mark.torch_2_4
@pytest.mark.parametrize("layout", LAYOUTS)
def test_compiles_without_a_graph_break(layout):
    torch._dynamo.reset()
    compiled = torch.compile(max_pool5x5, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 3, 8, 9).contiguous(memory_format=layout)
    upstream = torch.randn_like(x)
    for a, b in zip(
        value_and_gradient(compiled, x, upstream),
        value_and_gradient(max_pool5x5_reference, x, upstream),
        strict=True,
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_backward_pass_makes_no_zeros(layout):
    """As PyTorch would for the output that has no gradient."""
    y = max_pool5x5(torch.randn(2, 3, 6, 7).contiguous(memory_format=layout).requires_grad_())
    with torch.profiler.profile() as profiler:
        y.backward(torch.randn_like(y))
    assert "aten::zeros" not in {event.key for event in profiler.key_averages()}


@pytest.mark.torch_2_5
@pytest.mark.parametrize("layout", LAYOUTS)
def test_operators_are_registered_as_torch_wants(layout):
    x = torch.randn(2, 3, 6, 7).contiguous(memory_format=layout)
    for with_code in (False, True):
        torch.library.opcheck(torch.ops.mmseg_papers.max_pool5x5, (x, with_code))
    code = torch.ops.mmseg_papers.max_pool5x5(x, True)[1]
    torch.library.opcheck(torch.ops.mmseg_papers.max_pool5x5_backward, (x, code))


@pytest.mark.torch_2_7
def test_an_exported_program_holds_stock_operators_only():
    class Pool(torch.nn.Module):
        def forward(self, x):
            return max_pool5x5(x)

    program = torch.export.export(Pool(), (torch.randn(1, 2, 6, 7),))
    targets = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert targets
    assert all("mmseg_papers" not in t for t in targets)


@pytest.mark.triton_interpreter
@pytest.mark.parametrize("shape", [(2, 3, 6, 7), (1, 2, 1, 1), (1, 1, 3, 9)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_kernels_in_the_interpreter(shape, layout):
    kernels = importlib.import_module("mmseg_papers.ops.max_pool5x5_triton")
    for x in (torch.randn(shape).contiguous(memory_format=layout), tied(shape, layout)):
        expected, expected_code = module()._forward(x, True)
        out, code = torch.full_like(x, 99), torch.full_like(x, 99, dtype=torch.uint8)
        kernels.max_pool5x5_triton(x, out, code)
        assert torch.equal(out, expected)
        assert torch.equal(code, expected_code)
        out.fill_(99)
        kernels.max_pool5x5_triton(x, out, None)
        assert torch.equal(out, expected)
        grad = torch.randn_like(x)
        kernels.max_pool5x5_backward_triton(grad, code, out)
        assert torch.equal(out, module()._backward(grad, code))


@pytest.mark.cuda
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_cuda(shape, layout, dtype):
    x = tied(shape, layout, dtype).cuda()
    upstream = torch.randn_like(x)
    y, grad = value_and_gradient(max_pool5x5, x, upstream)
    expected_y, expected_grad = value_and_gradient(max_pool5x5_reference, x, upstream)
    assert torch.equal(y, expected_y)
    torch.testing.assert_close(grad, expected_grad)
    assert torch.equal(grad, value_and_gradient(max_pool5x5, x, upstream)[1])  # deterministic
