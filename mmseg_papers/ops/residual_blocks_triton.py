"""Triton kernel of :mod:`mmseg_papers.ops.residual_blocks`; imported for CUDA tensors only."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from .layout import is_channels_last


@triton.jit
def _kernel(
    y_ptr, mean_ptr, invstd_ptr, weight_ptr, bias_ptr, added_ptr, out_ptr,
    rows, columns, channels, tiles_across,
    channels_last: tl.constexpr, relu: tl.constexpr, top: tl.constexpr, dtype: tl.constexpr,
    block_r: tl.constexpr, block_c: tl.constexpr,
):  # fmt: skip
    """One program makes a tile of a map, seen as positions by channels or planes by positions."""
    tile = tl.program_id(0)
    row = (tile // tiles_across) * block_r + tl.arange(0, block_r)
    column = (tile % tiles_across) * block_c + tl.arange(0, block_c)
    if channels_last:
        channel, known = column, column < columns
    else:
        channel, known = row % channels, row < rows
    mean = tl.load(mean_ptr + channel, mask=known, other=0).to(dtype)
    slope = tl.load(invstd_ptr + channel, mask=known, other=0).to(dtype)
    slope *= tl.load(weight_ptr + channel, mask=known, other=0).to(dtype)
    offset = tl.load(bias_ptr + channel, mask=known, other=0).to(dtype) - mean * slope
    if channels_last:
        slope, offset = slope[None, :], offset[None, :]
    else:
        slope, offset = slope[:, None], offset[:, None]
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    at = row.to(tl.int64)[:, None] * columns + column[None, :]
    value = tl.load(y_ptr + at, mask=inside, other=0).to(dtype) * slope + offset
    if added_ptr is not None:
        value += tl.load(added_ptr + at, mask=inside, other=0).to(dtype)
    if relu:
        value = tl.where(value < 0, 0.0, value)  # not a number stays so
    if top is not None:
        value = tl.where(value > top, top, value)
    tl.store(out_ptr + at, value, mask=inside)


def normalise_triton(
    y: Tensor,
    mean: Tensor,
    invstd: Tensor,
    weight: Tensor,
    bias: Tensor,
    added: Tensor | None,
    top: float | None,
    out: Tensor,
) -> None:
    """Write (y - mean) * invstd * weight + bias, plus another map, perhaps cut at 0 and ``top``.

    Args:
        y (Tensor): (N, C, H, W), dense, in the layout of ``out``.
        mean (Tensor): (C,).
        invstd (Tensor): (C,).
        weight (Tensor): (C,).
        bias (Tensor): (C,).
        added (Tensor, optional): (N, C, H, W), dense, in the layout of ``out``.
        top (float, optional): The sums are cut to 0 and this, which may be infinite. None: not.
        out (Tensor): (N, C, H, W), NCHW or channels_last, written.
    """
    images, channels, height, width = y.shape
    vectors = [v.contiguous() for v in (mean, invstd, weight, bias)]
    channels_last = is_channels_last(y)
    if channels_last:
        rows, columns, block_c = images * height * width, channels, 64
    else:
        rows, columns, block_c = images * channels, height * width, 512
    block_r = 2048 // block_c
    across = triton.cdiv(columns, block_c)
    dtype = tl.float64 if y.dtype == torch.float64 else tl.float32
    with torch.cuda.device_of(y):
        _kernel[(triton.cdiv(rows, block_r) * across,)](
            y, *vectors, added, out, rows, columns, channels, across,
            channels_last=channels_last, relu=top is not None,
            top=None if top == math.inf else top, dtype=dtype, block_r=block_r, block_c=block_c,
        )  # fmt: skip
