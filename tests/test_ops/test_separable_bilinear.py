"""Resizing by matrix products against PyTorch's interpolation."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from mmseg_papers.ops import separable_bilinear, upsample_add, upsample_add_reference
from mmseg_papers.ops.separable_bilinear import add_resized, is_separable_cheaper, resize_backward

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize(
    ("sizes", "size"),
    [
        ([(4, 6)], (9, 7)),
        ([(5, 5), (3, 2)], (8, 11)),
        ([(1, 1), (2, 1)], (3, 1)),
        ([(3, 4)], (3, 4)),
    ],
)
@pytest.mark.parametrize("images", [0, 1, 2])
def test_value_and_gradient(sizes, size, memory_format, align_corners, images):
    xs = [
        torch.randn(images, 3, *s, dtype=torch.float64).to(memory_format=memory_format)
        for s in sizes
    ]
    base = torch.randn(images, 3, *size, dtype=torch.float64)
    total = base.clone()
    add_resized(xs, align_corners, total)
    xs = [x.requires_grad_() for x in xs]
    corners = dict(mode="bilinear", align_corners=align_corners)
    resized = [F.interpolate(x, size, **corners) if images else torch.zeros_like(base) for x in xs]
    torch.testing.assert_close(total, base + sum(resized), rtol=1e-13, atol=1e-13)
    if not images:
        return
    ours = resize_backward(base, sizes, align_corners)
    for x, y, gradient in zip(xs, resized, ours, strict=True):
        (expected,) = torch.autograd.grad(y, x, base)
        torch.testing.assert_close(gradient, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("max_side", [0, 32])
def test_both_ways_of_upsample_add(memory_format, max_side, monkeypatch):
    monkeypatch.setattr(separable_bilinear, "MAX_SIDE", max_side)
    xs = [
        torch.randn(2, 3, *s, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
        for s in [(7, 9), (5, 4), (3, 3)]
    ]
    ours = upsample_add(xs, align_corners=True, relu=True)
    plain = upsample_add_reference(xs, align_corners=True, relu=True)
    torch.testing.assert_close(ours, plain)
    upstream = torch.randn_like(plain)
    torch.testing.assert_close(
        torch.autograd.grad(ours, xs, upstream), torch.autograd.grad(plain, xs, upstream)
    )


def test_large_or_shrunken_maps_are_interpolated():
    assert is_separable_cheaper((20, 12), (60, 60))
    assert not is_separable_cheaper((33, 12), (60, 60))
    assert not is_separable_cheaper((20, 12), (19, 60))


@pytest.mark.parametrize("is_fake_first", [True, False])
def test_fake_tensors_leave_nothing_behind(is_fake_first):
    sizes = [(13, 17), (6, 5 + is_fake_first)]  # of no other test

    def run(is_fake):
        with FakeTensorMode() if is_fake else nullcontext():
            xs = [torch.randn(1, 2, *s, requires_grad=True) for s in sizes]
            y = upsample_add(xs)
            y.sum().backward()
            return xs, y

    for is_fake in (is_fake_first, not is_fake_first):
        xs, y = run(is_fake)
        assert y.shape[2:] == sizes[0]
        if not is_fake:
            torch.testing.assert_close(y, upsample_add_reference(xs))
