"""Triton kernel of strip_means: both strips from one read, nothing added atomically."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .layout import layout

#: Rows that one program reads, and values of one of its rows.
ROWS, BLOCK = 8, 2048


@triton.jit
def _row_and_column_sums_kernel(
    x,
    row_sums,  # (N, C, H)
    column_sums,  # (chunks, N, C, W)
    channels,
    height,
    width,
    stride_n,
    stride_c,
    stride_h,
    stride_w,
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """Rows of a block of channels, whole, and what they add to the columns."""
    n, chunk = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    c = (tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)).to(tl.int64)
    w = tl.arange(0, BLOCK_W).to(tl.int64)
    has_c, has_w = c < channels, w < width
    place = x + n * stride_n + c[:, None] * stride_c + w[None, :] * stride_w
    plane = n * channels + c
    dtype = row_sums.dtype.element_ty
    column = tl.zeros((BLOCK_C, BLOCK_W), dtype)
    for i in tl.static_range(ROWS):
        h = chunk * ROWS + i
        # A vector, since the interpreter takes no scalar in a mask.
        is_row = has_c & (h + tl.zeros_like(c) < height)
        tile = tl.load(place + h * stride_h, is_row[:, None] & has_w[None, :], 0.0).to(dtype)
        column += tile
        tl.store(row_sums + plane * height + h, tl.sum(tile, 1), is_row)
    images = tl.num_programs(1)
    place = column_sums + (chunk * images * channels + plane)[:, None] * width + w[None, :]
    tl.store(place, column, has_c[:, None] & has_w[None, :])


def row_and_column_sums_triton(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Sums of rows, (N, C, H, 1), and of columns, (N, C, 1, W), in ``dtype``."""
    n, c, height, width = x.shape
    chunks = triton.cdiv(height, ROWS)
    row = torch.empty((n, c, height, 1), device=x.device, dtype=dtype)
    columns = torch.empty((chunks, n, c, 1, width), device=x.device, dtype=dtype)
    if x.numel():
        block_w = max(triton.next_power_of_2(width), 16)
        block_c = min(max(BLOCK // block_w, 1), 32)
        with torch.cuda.device_of(x):
            _row_and_column_sums_kernel[triton.cdiv(c, block_c), n, chunks](
                *(x, row, columns, c, height, width, *x.stride()),
                ROWS=ROWS,
                BLOCK_C=block_c,
                BLOCK_W=block_w,
            )
    return tuple(s.contiguous(memory_format=layout(x)) for s in (row, columns.sum(0)))
