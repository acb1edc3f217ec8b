"""Triton kernels of upsample_add: every output gathers what it needs, nothing is scattered."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from .bilinear import bilinear_taps
from .layout import is_channels_last, layout
from .precision import accumulation_dtype
from .tensor_cache import cache_tensors

BLOCK = 256
#: Maps that one launch of the forward kernel adds.
MAPS = 4


@triton.jit
def _position(offset, channels, height, width, CHANNELS_LAST: tl.constexpr):
    """Image, channel, row and column of a place in memory."""
    if CHANNELS_LAST:
        channel = offset % channels
        col = (offset // channels) % width
        row = (offset // channels // width) % height
    else:
        col = offset % width
        row = (offset // width) % height
        channel = (offset // width // height) % channels
    return offset // channels // height // width, channel, row, col


@triton.jit
def _read(x, image, channel, row, col, channels, height, width, mask, CHANNELS_LAST: tl.constexpr):
    if CHANNELS_LAST:
        offset = ((image * height + row) * width + col) * channels + channel
    else:
        offset = ((image * channels + channel) * height + row) * width + col
    return tl.load(x + offset, mask, 0.0)


@triton.jit
def _resized(
    x,
    taps,  # rows' lower, rows' upper, columns' lower, columns' upper
    weights,  # rows', columns'
    image,
    channel,
    row,
    col,
    channels,
    in_height,
    in_width,
    height,
    width,
    mask,
    CHANNELS_LAST: tl.constexpr,
):
    """Bilinear value; nearest has equal taps and zero weights, a map of the sum's size too."""
    row0 = tl.load(taps + row, mask, 0)
    row1 = tl.load(taps + height + row, mask, 0)
    col0 = tl.load(taps + 2 * height + col, mask, 0)
    col1 = tl.load(taps + 2 * height + width + col, mask, 0)
    row_weight = tl.load(weights + row, mask, 0.0)
    col_weight = tl.load(weights + height + col, mask, 0.0)
    a = _read(x, image, channel, row0, col0, channels, in_height, in_width, mask, CHANNELS_LAST)
    b = _read(x, image, channel, row0, col1, channels, in_height, in_width, mask, CHANNELS_LAST)
    c = _read(x, image, channel, row1, col0, channels, in_height, in_width, mask, CHANNELS_LAST)
    d = _read(x, image, channel, row1, col1, channels, in_height, in_width, mask, CHANNELS_LAST)
    dtype = row_weight.dtype
    upper = (1 - col_weight) * a.to(dtype) + col_weight * b.to(dtype)
    lower = (1 - col_weight) * c.to(dtype) + col_weight * d.to(dtype)
    return (1 - row_weight) * upper + row_weight * lower


@triton.jit
def _sum_kernel(
    out,
    x0,
    x1,
    x2,
    x3,
    taps0,
    taps1,
    taps2,
    taps3,
    weights0,
    weights1,
    weights2,
    weights3,
    h0,
    w0,
    h1,
    w1,
    h2,
    w2,
    h3,
    w3,
    channels,
    height,
    width,
    numel,
    NUM: tl.constexpr,
    RELU: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offset < numel
    n, c, row, col = _position(offset, channels, height, width, CHANNELS_LAST)
    y = _resized(
        x0, taps0, weights0, n, c, row, col, channels, h0, w0, height, width, mask, CHANNELS_LAST
    )
    if NUM > 1:
        y += _resized(
            x1, taps1, weights1, n, c, row, col, channels, h1, w1, height, width, mask,
            CHANNELS_LAST,
        )  # fmt: skip
    if NUM > 2:
        y += _resized(
            x2, taps2, weights2, n, c, row, col, channels, h2, w2, height, width, mask,
            CHANNELS_LAST,
        )  # fmt: skip
    if NUM > 3:
        y += _resized(
            x3, taps3, weights3, n, c, row, col, channels, h3, w3, height, width, mask,
            CHANNELS_LAST,
        )  # fmt: skip
    if RELU:
        y = tl.where(y < 0, 0.0, y)  # keeps NaN, as PyTorch's
    tl.store(out + offset, y.to(out.dtype.element_ty), mask)


@triton.jit
def _backward_kernel(
    grad,
    out,
    row_ranges,  # per source row: first result row that reads it, and their end
    col_ranges,
    row_taps,  # lower, upper
    col_taps,
    row_weights,
    col_weights,
    channels,
    in_height,
    in_width,
    height,
    width,
    max_rows,
    max_cols,
    numel,
    CHANNELS_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offset < numel
    n, c, i, j = _position(offset, channels, in_height, in_width, CHANNELS_LAST)
    row_start = tl.load(row_ranges + i, mask, 0)
    row_stop = tl.load(row_ranges + in_height + i, mask, 0)
    col_start = tl.load(col_ranges + j, mask, 0)
    col_stop = tl.load(col_ranges + in_width + j, mask, 0)
    total = tl.zeros((BLOCK,), row_weights.dtype.element_ty)
    for dy in range(max_rows):
        row = row_start + dy
        has_row = mask & (row < row_stop)
        weight = tl.load(row_weights + row, has_row, 0.0)
        row_share = tl.where(tl.load(row_taps + row, has_row, -1) == i, 1 - weight, 0.0)
        row_share += tl.where(tl.load(row_taps + height + row, has_row, -1) == i, weight, 0.0)
        for dx in range(max_cols):
            col = col_start + dx
            has_both = has_row & (col < col_stop)
            weight = tl.load(col_weights + col, has_both, 0.0)
            share = tl.where(tl.load(col_taps + col, has_both, -1) == j, 1 - weight, 0.0)
            share += tl.where(tl.load(col_taps + width + col, has_both, -1) == j, weight, 0.0)
            value = _read(grad, n, c, row, col, channels, height, width, has_both, CHANNELS_LAST)
            total += row_share * share * value.to(total.dtype)
    tl.store(out + offset, total.to(out.dtype.element_ty), mask)


def _axis_taps(
    in_size: int,
    out_size: int,
    mode: str,
    align_corners: bool,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    if mode == "bilinear":
        return bilinear_taps(in_size, out_size, align_corners, device, dtype)
    source = torch.arange(in_size, dtype=torch.float32, device=device)[None, None]
    taps = F.interpolate(source, out_size, mode="nearest").flatten().long()
    return taps, taps, torch.zeros(out_size, dtype=dtype, device=device)


@cache_tensors  # a dozen tiny launches otherwise, and a model's sizes recur
def _map_taps(in_size: tuple[int, int], out_size: tuple[int, int], *args) -> tuple[Tensor, Tensor]:
    """Positions (rows' lower and upper, columns' lower and upper) and weights of one map."""
    row0, row1, row_weight = _axis_taps(in_size[0], out_size[0], *args)
    col0, col1, col_weight = _axis_taps(in_size[1], out_size[1], *args)
    return torch.cat([row0, row1, col0, col1]), torch.cat([row_weight, col_weight])


@cache_tensors
def _axis_readers(in_size: int, out_size: int, *args) -> tuple[Tensor, Tensor, Tensor, int]:
    """Per source the first result position that reads it and their end; taps; weights; most."""
    lower, upper, weight = _axis_taps(in_size, out_size, *args)
    # Taps grow with the position, so the readers of a source are neighbours.
    sources = torch.arange(in_size, device=lower.device)
    start = torch.searchsorted(upper, sources)
    stop = torch.searchsorted(lower, sources, right=True)
    # A bound known without reading the GPU: the positions between three neighbouring sources.
    most = min(2 * -(-out_size // max(in_size - 1, 1)) + 2, out_size)
    return torch.cat([start, stop]), torch.cat([lower, upper]), weight, most


def upsample_add_triton(
    xs: Sequence[Tensor], mode: str, align_corners: bool, relu: bool, out: Tensor
) -> None:
    """Fill ``out`` (N, C, H, W) with the sum of the resized maps."""
    if out.numel() == 0:
        return
    xs = list(xs)
    while xs:
        now, xs = xs[:MAPS], xs[MAPS:]
        total = out
        if xs:  # a partial sum, in the accumulator's precision, is the next launch's first map
            total = torch.empty_like(out, dtype=accumulation_dtype(out))
            xs = [total, *xs]
        maps = [x.contiguous(memory_format=layout(out)) for x in now]
        args = (mode, align_corners, out.device, accumulation_dtype(out))
        tables = [_map_taps(out, tuple(x.shape[2:]), tuple(out.shape[2:]), *args) for x in maps]
        taps, weights = zip(*tables, strict=True)
        unused = MAPS - len(maps)
        with torch.cuda.device_of(out):
            _sum_kernel[(triton.cdiv(out.numel(), BLOCK),)](
                total,
                *maps,
                *maps[:1] * unused,
                *taps,
                *taps[:1] * unused,
                *weights,
                *weights[:1] * unused,
                *(length for x in maps for length in x.shape[2:]),
                *(1, 1) * unused,
                *out.shape[1:],
                out.numel(),
                NUM=len(maps),
                RELU=relu and not xs,
                CHANNELS_LAST=is_channels_last(out),
                BLOCK=BLOCK,
            )


def resize_backward_triton(grad: Tensor, mode: str, align_corners: bool, out: Tensor) -> None:
    """Fill ``out`` (N, C, h, w) with the gradient of a map that was resized to ``grad``."""
    if out.numel() == 0:
        return
    args = (mode, align_corners, grad.device, accumulation_dtype(grad))
    axes = [_axis_readers(out, out.shape[dim], grad.shape[dim], *args) for dim in (2, 3)]
    ranges, taps, weights, longest = zip(*axes, strict=True)
    with torch.cuda.device_of(out):
        _backward_kernel[(triton.cdiv(out.numel(), BLOCK),)](
            grad.contiguous(memory_format=layout(out)),
            out,
            *ranges,
            *taps,
            *weights,
            *out.shape[1:],
            *grad.shape[2:],
            *longest,
            out.numel(),
            CHANNELS_LAST=is_channels_last(out),
            BLOCK=BLOCK,
        )
