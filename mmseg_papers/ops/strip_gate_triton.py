"""Triton kernels of strip_gate: a matrix product from the strips to the gated map."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .layout import is_channels_last, layout
from .precision import convolutions_use_tf32

BLOCK_P, BLOCK_C, BLOCK_K = 64, 64, 32
BLOCK = 1024


@triton.jit
def _gate_kernel(
    x,
    row,  # (N, H, K) in memory, as columns are (N, W, K): a place's channels are neighbours
    column,
    weight,  # (C, K)
    bias,
    out,
    gate,
    channels,
    depth,  # K
    height,
    width,
    stride_n,  # of x, out and gate
    stride_c,
    stride_p,
    KEEP_GATE: tl.constexpr,
    TF32: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Gate (places x channels) = sigmoid(relu(row + column) W^T + bias), and x times it."""
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)  # within an image
    c = (tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)).to(tl.int64)
    n = tl.program_id(2).to(tl.int64)
    has_p, has_c = p < height * width, c < channels
    row_place = (n * height + p // width) * depth
    column_place = (n * width + p % width) * depth
    logits = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(0, depth, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        has_k = k < depth
        mask = has_p[:, None] & has_k[None, :]
        strips = tl.load(row + row_place[:, None] + k[None, :], mask, 0.0)
        strips += tl.load(column + column_place[:, None] + k[None, :], mask, 0.0)
        strips = tl.where(strips < 0, 0.0, strips)  # keeps NaN, as PyTorch's
        w_tile = tl.load(
            weight + c[None, :] * depth + k[:, None], has_k[:, None] & has_c[None, :], 0.0
        )
        logits += tl.dot(strips.to(w_tile.dtype), w_tile, allow_tf32=TF32)
    logits += tl.load(bias + c, has_c, 0.0).to(tl.float32)[None, :]
    value = 1 / (1 + tl.exp(-logits))
    offset = n * stride_n + p[:, None].to(tl.int64) * stride_p + c[None, :] * stride_c
    mask = has_p[:, None] & has_c[None, :]
    if KEEP_GATE:
        tl.store(gate + offset, value.to(gate.dtype.element_ty), mask)
    gated = tl.load(x + offset, mask, 0.0).to(tl.float32) * value
    tl.store(out + offset, gated.to(out.dtype.element_ty), mask)


@triton.jit
def _backward_kernel(grad, x, gate, grad_x, grad_logits, numel, BLOCK: tl.constexpr):
    """Through the product and the sigmoid, in one pass."""
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offset < numel
    g = tl.load(grad + offset, mask, 0.0).to(tl.float32)
    s = tl.load(gate + offset, mask, 0.0).to(tl.float32)
    tl.store(grad_x + offset, (g * s).to(grad_x.dtype.element_ty), mask)
    d = g * tl.load(x + offset, mask, 0.0).to(tl.float32) * s * (1 - s)
    tl.store(grad_logits + offset, d.to(grad_logits.dtype.element_ty), mask)


def strip_gate_triton(
    x: Tensor, row: Tensor, column: Tensor, weight: Tensor, bias: Tensor, keeps_gate: bool
) -> tuple[Tensor, Tensor]:
    """The gated map, and the gate (empty unless kept)."""
    out = torch.empty_like(x)
    gate = torch.empty_like(x) if keeps_gate else x.new_empty(0)
    n, c, height, width = x.shape
    if x.numel() == 0:
        return out, gate
    grid = (triton.cdiv(height * width, BLOCK_P), triton.cdiv(c, BLOCK_C), n)
    with torch.cuda.device_of(x):
        _gate_kernel[grid](
            x,
            *(s.permute(0, 2, 3, 1).contiguous() for s in (row, column)),
            weight.contiguous(),
            bias.contiguous(),
            out,
            gate,
            *(c, row.shape[1], height, width),
            c * height * width,
            *((1, c) if is_channels_last(x) else (height * width, 1)),
            KEEP_GATE=keeps_gate,
            TF32=convolutions_use_tf32(),  # as the convolution that this replaces
            BLOCK_P=BLOCK_P,
            BLOCK_C=BLOCK_C,
            BLOCK_K=BLOCK_K,
        )
    return out, gate


def gate_backward_triton(grad: Tensor, x: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the map, by the product alone, and of the logits under the sigmoid."""
    grad_x, grad_logits = torch.empty_like(x), torch.empty_like(x)
    if x.numel():
        grid = (triton.cdiv(x.numel(), BLOCK),)
        grad = grad.contiguous(memory_format=layout(x))
        with torch.cuda.device_of(x):
            _backward_kernel[grid](grad, x, gate, grad_x, grad_logits, x.numel(), BLOCK)
    return grad_x, grad_logits
