"""chained_pooling1x1 against its plain form: value, gradient, memory, layouts."""

import importlib

import pytest
import torch

from mmseg_papers.ops import chained_pooling1x1, chained_pooling1x1_reference

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def inputs(shape=(2, 6, 9, 11), stages=4, layout=torch.contiguous_format, dtype=torch.float64):
    x = torch.randn(shape, dtype=dtype).contiguous(memory_format=layout)
    weights = [torch.randn(shape[1], shape[1], 1, 1, dtype=dtype) / 2 for _ in range(stages)]
    return x, weights


@pytest.mark.parametrize("shape", [(2, 6, 9, 11), (1, 3, 1, 1), (2, 1, 4, 7), (0, 2, 3, 3)])
@pytest.mark.parametrize("stages", [0, 1, 2, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_value(shape, stages, layout):
    x, weights = inputs(shape, stages, layout)
    before = x.clone()
    expected = chained_pooling1x1_reference(x, weights)
    torch.testing.assert_close(chained_pooling1x1(x, weights), expected)
    with torch.no_grad():
        y = chained_pooling1x1(x, weights)
    torch.testing.assert_close(y, expected)
    assert torch.equal(x, before)
    assert y.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient(layout):
    x, weights = inputs(layout=layout)
    leaves = [x.requires_grad_(), *(w.requires_grad_() for w in weights)]
    upstream = torch.randn_like(x)
    ours = torch.autograd.grad(chained_pooling1x1(x, weights), leaves, upstream)
    plain = torch.autograd.grad(chained_pooling1x1_reference(x, weights), leaves, upstream)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)


def test_three_new_maps_serve_all_stages():
    x, weights = inputs((1, 8, 64, 64), stages=4, dtype=torch.float32)
    kept = []
    empty_like = torch.empty_like
    module = importlib.import_module("mmseg_papers.ops.chained_pooling1x1")
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(
            module.torch, "empty_like", lambda *a, **k: kept.append(1) or empty_like(*a, **k)
        )
        chained_pooling1x1(x, weights)
    assert sum(kept) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    x, weights = inputs(dtype=dtype)
    with torch.no_grad():
        y = chained_pooling1x1(x, weights)
    exact = chained_pooling1x1_reference(x.double(), [w.double() for w in weights])
    plain = chained_pooling1x1_reference(x, weights)
    error, plain_error = ((z.double() - exact).abs().max() for z in (y, plain))
    assert y.dtype == dtype
    assert error <= 2 * plain_error


def test_refuses_kernels_that_do_not_fit():
    x, _ = inputs()
    with pytest.raises(ValueError, match=r"needs kernels \(6, 6, 1, 1\), got \(6, 6, 3, 3\)"):
        chained_pooling1x1(x, [torch.rand(6, 6, 3, 3)])


@pytest.mark.torch_2_4
def test_compiles_without_a_graph_break():
    torch._dynamo.reset()
    x, weights = inputs()
    compiled = torch.compile(chained_pooling1x1, fullgraph=True, backend="aot_eager")
    expected = chained_pooling1x1_reference(x, weights)
    torch.testing.assert_close(compiled(x, weights), expected)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, weights), expected)
