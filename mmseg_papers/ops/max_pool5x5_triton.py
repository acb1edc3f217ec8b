"""Triton kernels of max_pool5x5: every output reads its window, every input those that chose it."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .layout import is_channels_last
from .precision import accumulation_dtype

BLOCK = 256


@triton.jit
def _strides(channels, height, width, CHANNELS_LAST: tl.constexpr):
    """Distance in memory of neighbouring rows and columns."""
    if CHANNELS_LAST:
        return width * channels, channels
    return width, 1


@triton.jit
def _place(offset, channels, height, width, CHANNELS_LAST: tl.constexpr):
    """Row and column of a place in memory."""
    if CHANNELS_LAST:
        return (offset // channels // width) % height, (offset // channels) % width
    return (offset // width) % height, offset % width


@triton.jit
def _pool_kernel(
    x,
    out,
    code,
    channels,
    height,
    width,
    numel,
    WITH_CODE: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row, col = _place(offset, channels, height, width, CHANNELS_LAST)
    row_stride, col_stride = _strides(channels, height, width, CHANNELS_LAST)
    best = tl.full((BLOCK,), float("-inf"), tl.float64 if x.dtype.element_ty == tl.float64
                   else tl.float32)  # fmt: skip
    # Of a window of -inf only, the first position inside the map.
    found = tl.maximum(2 - row, 0) * 8 + tl.maximum(2 - col, 0)
    for i in tl.static_range(5):
        for j in tl.static_range(5):
            y, z = row + (i - 2), col + (j - 2)
            inside = (offset < numel) & (y >= 0) & (y < height) & (z >= 0) & (z < width)
            place = offset + (i - 2) * row_stride + (j - 2) * col_stride
            value = tl.load(x + place, inside, float("-inf")).to(best.dtype)
            above = (value > best) | (value != value)  # NaN wins, as in PyTorch
            best = tl.where(above, value, best)
            found = tl.where(above, 8 * i + j, found)
    tl.store(out + offset, best.to(out.dtype.element_ty), offset < numel)
    if WITH_CODE:
        tl.store(code + offset, found.to(tl.uint8), offset < numel)


@triton.jit
def _backward_kernel(
    grad,
    code,
    out,
    channels,
    height,
    width,
    numel,
    DOUBLE: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row, col = _place(offset, channels, height, width, CHANNELS_LAST)
    row_stride, col_stride = _strides(channels, height, width, CHANNELS_LAST)
    total = tl.zeros((BLOCK,), tl.float64 if DOUBLE else tl.float32)
    for i in tl.static_range(5):
        for j in tl.static_range(5):
            # The window whose element (4 - i, 4 - j) is this one.
            y, z = row + (i - 2), col + (j - 2)
            inside = (offset < numel) & (y >= 0) & (y < height) & (z >= 0) & (z < width)
            place = offset + (i - 2) * row_stride + (j - 2) * col_stride
            chosen = tl.load(code + place, inside, 255) == 8 * (4 - i) + (4 - j)
            total += tl.load(grad + place, inside & chosen, 0.0).to(total.dtype)
    tl.store(out + offset, total.to(out.dtype.element_ty), offset < numel)


def max_pool5x5_triton(x: Tensor, out: Tensor, code: Tensor | None) -> None:
    """Fill ``out`` with the pooled map and ``code`` with 8 * row + column of the maxima."""
    if x.numel() == 0:
        return
    with torch.cuda.device_of(x):
        _pool_kernel[(triton.cdiv(x.numel(), BLOCK),)](
            x,
            out,
            out if code is None else code,
            *x.shape[1:],
            x.numel(),
            WITH_CODE=code is not None,
            CHANNELS_LAST=is_channels_last(x),
            BLOCK=BLOCK,
        )


def max_pool5x5_backward_triton(grad: Tensor, code: Tensor, out: Tensor) -> None:
    """Fill ``out`` with the gradient of the map that was pooled."""
    if grad.numel() == 0:
        return
    with torch.cuda.device_of(grad):
        _backward_kernel[(triton.cdiv(grad.numel(), BLOCK),)](
            grad,
            code,
            out,
            *grad.shape[1:],
            grad.numel(),
            DOUBLE=accumulation_dtype(grad) == torch.float64,
            CHANNELS_LAST=is_channels_last(grad),
            BLOCK=BLOCK,
        )
