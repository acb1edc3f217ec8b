"""Triton kernels of :mod:`mmseg_papers.ops.gate_rows`; imported for CUDA tensors only."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .layout import is_channels_last


@triton.jit
def _forward_kernel(
    x_ptr, gate_ptr, y_ptr, mean_ptr,
    channels, height, width,
    stride_n, stride_c, stride_h, stride_w,
    with_mean: tl.constexpr, dtype: tl.constexpr, block_c: tl.constexpr, block_w: tl.constexpr,
):  # fmt: skip
    """One program gates one row of ``block_c`` channels."""
    row, first_channel = tl.program_id(0), tl.program_id(1) * block_c
    image, y = (row // height).to(tl.int64), (row % height).to(tl.int64)
    c = (first_channel + tl.arange(0, block_c)).to(tl.int64)
    at_gate = (image * channels + c) * height + y
    factor = tl.load(gate_ptr + at_gate, mask=c < channels, other=0).to(dtype)
    start = image * stride_n + y * stride_h + c[:, None] * stride_c
    total = tl.zeros((block_c, block_w), dtype)
    for begin in range(0, width, block_w):
        w = (begin + tl.arange(0, block_w)).to(tl.int64)
        inside = (c < channels)[:, None] & (w < width)[None, :]
        at = start + w[None, :] * stride_w
        value = tl.load(x_ptr + at, mask=inside, other=0).to(dtype)
        tl.store(y_ptr + at, value * factor[:, None], mask=inside)
        if with_mean:
            total += value
    if with_mean:
        tl.store(mean_ptr + at_gate, tl.sum(total, axis=1) / width, mask=c < channels)


@triton.jit
def _backward_kernel(
    x_ptr, gate_ptr, dy_ptr, dmean_ptr, dx_ptr, dgate_ptr,
    channels, height, width,
    stride_n, stride_c, stride_h, stride_w,
    dy_stride_n, dy_stride_c, dy_stride_h, dy_stride_w,
    with_mean: tl.constexpr, dtype: tl.constexpr, block_c: tl.constexpr, block_w: tl.constexpr,
):  # fmt: skip
    """One program reads one row of ``block_c`` channels of map and gradient, once."""
    row, first_channel = tl.program_id(0), tl.program_id(1) * block_c
    image, y = (row // height).to(tl.int64), (row % height).to(tl.int64)
    c = (first_channel + tl.arange(0, block_c)).to(tl.int64)
    at_gate = (image * channels + c) * height + y
    factor = tl.load(gate_ptr + at_gate, mask=c < channels, other=0).to(dtype)
    start = image * stride_n + y * stride_h + c[:, None] * stride_c
    dy_start = image * dy_stride_n + y * dy_stride_h + c[:, None] * dy_stride_c
    if with_mean:
        of_mean = tl.load(dmean_ptr + at_gate, mask=c < channels, other=0).to(dtype) / width
    total = tl.zeros((block_c, block_w), dtype)
    for begin in range(0, width, block_w):
        w = (begin + tl.arange(0, block_w)).to(tl.int64)
        inside = (c < channels)[:, None] & (w < width)[None, :]
        at = start + w[None, :] * stride_w
        value = tl.load(x_ptr + at, mask=inside, other=0).to(dtype)
        dy = tl.load(dy_ptr + dy_start + w[None, :] * dy_stride_w, mask=inside, other=0).to(dtype)
        dx = dy * factor[:, None]
        if with_mean:
            dx += of_mean[:, None]
        tl.store(dx_ptr + at, dx, mask=inside)
        total += value * dy
    tl.store(dgate_ptr + at_gate, tl.sum(total, axis=1), mask=c < channels)


def gate_rows_triton(x: Tensor, gate: Tensor, y: Tensor, mean: Tensor) -> None:
    """Write the gated map to ``y`` and, unless it is empty, the means before the gate to ``mean``.

    Args:
        x (Tensor): (N, C, H, W), in the layout of ``y``.
        gate (Tensor): (N, C, H).
        y (Tensor): (N, C, H, W), written.
        mean (Tensor): (N, C, H), written; or empty.
    """
    if x.numel() == 0:
        return
    x = _as(x, y)
    with torch.cuda.device_of(x):
        _forward_kernel[_grid(x)](
            x, gate.contiguous(), y, mean, *x.shape[1:], *x.stride(), with_mean=mean.numel() > 0,
            **_meta(x),
        )  # fmt: skip


def gate_rows_backward_triton(
    x: Tensor, gate: Tensor, dy: Tensor, dmean: Tensor, dx: Tensor, dgate: Tensor
) -> None:
    """Write the gradients of map and gate.

    Args:
        x (Tensor): (N, C, H, W), in the layout of ``dx``.
        gate (Tensor): (N, C, H).
        dy (Tensor): (N, C, H, W), of any strides.
        dmean (Tensor): (N, C, H), gradient of the means before the gate; or empty.
        dx (Tensor): (N, C, H, W), written.
        dgate (Tensor): (N, C, H), contiguous, written.
    """
    if x.numel() == 0:
        return
    x = _as(x, dx)
    with torch.cuda.device_of(x):
        _backward_kernel[_grid(x)](
            x, gate.contiguous(), dy, dmean.contiguous(), dx, dgate, *x.shape[1:], *x.stride(),
            *dy.stride(), with_mean=dmean.numel() > 0, **_meta(x),
        )  # fmt: skip


def _as(x: Tensor, like: Tensor) -> Tensor:
    """``x`` in the strides of ``like``."""
    return x if x.stride() == like.stride() else torch.empty_like(like).copy_(x)


def _blocks(x: Tensor) -> tuple[int, int]:
    """Channels and columns of a tile whose memory lies together."""
    return (64, 16) if is_channels_last(x) else (1, 256)


def _grid(x: Tensor) -> tuple[int, int]:
    return x.shape[0] * x.shape[2], triton.cdiv(x.shape[1], _blocks(x)[0])


def _meta(x: Tensor) -> dict:
    block_c, block_w = _blocks(x)
    dtype = tl.float64 if x.dtype == torch.float64 else tl.float32
    return dict(dtype=dtype, block_c=block_c, block_w=block_w)
