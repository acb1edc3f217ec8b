"""Row pooling equals adaptive pooling, in value and gradient."""

from importlib import import_module

import pytest
import torch

from mmseg_papers.ops import bin_rows, pool_rows, pool_rows_reference

SHAPES = [(2, 3, 24, 20), (1, 5, 37, 21), (2, 4, 7, 1), (1, 2, 1, 1), (0, 3, 5, 4), (1, 3, 16, 9)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [16, 8, 3])
def test_equals_adaptive_pooling(shape, layout, pooling, rows):
    x = torch.randn(shape, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    weight = torch.randn(*shape[:2], rows, dtype=torch.float64)
    results = []
    for pool in (pool_rows, pool_rows_reference):
        y = pool(x, rows, pooling)
        results.append((y, torch.autograd.grad((y * weight).sum(), x)[0]))
    (y, grad), (expected, expected_grad) = results
    assert y.shape == (*shape[:2], rows)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ties_of_the_maximum_go_to_the_first(layout):
    x = torch.zeros(1, 2, 8, 6).to(memory_format=layout).requires_grad_()
    grads = [
        torch.autograd.grad(pool(x, 4, "max").sum(), x)[0]
        for pool in (pool_rows, pool_rows_reference)
    ]
    torch.testing.assert_close(*grads, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_precision(layout, dtype):
    x = torch.randn(2, 8, 33, 50).to(dtype).to(memory_format=layout)
    expected = pool_rows_reference(x.float(), 16)
    torch.testing.assert_close(pool_rows(x, 16).float(), expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_precision_does_not_overflow(layout):
    x = torch.full((1, 2, 800, 3), 100.0, dtype=torch.float16).to(memory_format=layout)
    x.requires_grad_()
    y = pool_rows(x, 1)
    assert y.flatten().tolist() == [100.0, 100.0]
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad, torch.full_like(x, 1 / 2400))


def test_maxima_of_bins_as_on_a_gpu(monkeypatch):
    module = import_module("mmseg_papers.ops.pool_rows")
    monkeypatch.setattr(module, "is_exporting", lambda: True)
    for height in (5, 16, 37):
        x = torch.randn(2, 3, height, 4)
        torch.testing.assert_close(pool_rows(x, 16, "max"), pool_rows_reference(x, 16, "max"))


def test_bad_input():
    with pytest.raises(ValueError, match=r"pooling must be one of mean, max, got 'sum'"):
        pool_rows(torch.rand(1, 2, 3, 4), 2, "sum")
    with pytest.raises(ValueError, match=r"pooling must be one of mean, max, got 'sum'"):
        pool_rows(torch.rand(1, 2, 3, 4).to(memory_format=torch.channels_last), 2, "sum")
    with pytest.raises(ValueError, match=r"got \(1, 2, 3\)"):
        pool_rows(torch.rand(1, 2, 3), 2)
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        bin_rows(torch.rand(1, 2, 3), 0)
