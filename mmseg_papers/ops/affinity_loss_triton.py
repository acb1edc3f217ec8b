"""Triton kernels of affinity_loss: a block of queries runs over the keys; nothing is scattered."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_KEYS = 32
BLOCK_QUERIES = 64


@triton.jit
def _read(
    logits, label, key, query, first_key, keys, positions, stride_k, stride_q, DTYPE: tl.constexpr
):
    """Prior, logit, whether of one class, whether one position, and whether in the map at all."""
    has_key, has_query = key < keys, query < positions
    inside = has_key[:, None] & has_query[None, :]
    z = tl.load(logits + key[:, None] * stride_k + query[None, :] * stride_q, inside, 0.0).to(DTYPE)
    of_key = tl.load(label + first_key + key, has_key, 0)
    of_query = tl.load(label + query, has_query, 0)
    same = of_key[:, None] == of_query[None, :]
    itself = (first_key + key)[:, None] == query[None, :]
    return 1 / (1 + tl.exp(-z)), z, same, itself, inside


@triton.jit
def _add(total, values, mask):
    return total + tl.sum(tl.where(mask, values, 0.0), axis=0)


@triton.jit
def _sums_kernel(
    sums,  # (4, images, positions)
    logits,
    label,
    images,
    keys,
    positions,
    first_key,
    stride_b,
    stride_k,
    stride_q,
    LARGEST: tl.constexpr,
    CLAMPED: tl.constexpr,
    COUNT_SELF: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
):
    image = tl.program_id(1).to(tl.int64)
    query = (tl.program_id(0) * BLOCK_QUERIES + tl.arange(0, BLOCK_QUERIES)).to(tl.int64)
    logits += image * stride_b
    label += image * positions
    dtype = sums.dtype.element_ty
    mine = tl.zeros((BLOCK_QUERIES,), dtype)
    total = tl.zeros((BLOCK_QUERIES,), dtype)
    others = tl.zeros((BLOCK_QUERIES,), dtype)
    bce = tl.zeros((BLOCK_QUERIES,), dtype)
    for start in range(0, keys, BLOCK_KEYS):
        key = (start + tl.arange(0, BLOCK_KEYS)).to(tl.int64)
        p, z, same, itself, inside = _read(
            logits, label, key, query, first_key, keys, positions, stride_k, stride_q, dtype
        )
        if CLAMPED:
            cost = tl.minimum(-tl.log(tl.where(same, p, 1 - p)), LARGEST)
        else:
            wrong = tl.where(same, -z, z)
            cost = tl.maximum(wrong, 0.0) + tl.log(1 + tl.exp(-tl.abs(wrong)))
        companion = inside & same
        if not COUNT_SELF:
            companion = companion & (itself == 0)
        mine = _add(mine, p, companion)
        total = _add(total, p, inside)
        others = _add(others, 1 - p, inside & (same == 0))
        bce = _add(bce, cost, inside)
    has_query = query < positions
    sums += image * positions + query
    step = images * positions
    tl.store(sums, tl.load(sums, has_query) + mine, has_query)
    tl.store(sums + step, tl.load(sums + step, has_query) + total, has_query)
    tl.store(sums + 2 * step, tl.load(sums + 2 * step, has_query) + others, has_query)
    tl.store(sums + 3 * step, tl.load(sums + 3 * step, has_query) + bce, has_query)


@triton.jit
def _gradient_kernel(
    out,
    grad,  # (4, images, positions)
    logits,
    label,
    images,
    keys,
    positions,
    first_key,
    stride_b,
    stride_k,
    stride_q,
    out_stride_b,
    out_stride_k,
    out_stride_q,
    SMALLEST: tl.constexpr,
    CLAMPED: tl.constexpr,
    COUNT_SELF: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
):
    image = tl.program_id(2).to(tl.int64)
    query = (tl.program_id(0) * BLOCK_QUERIES + tl.arange(0, BLOCK_QUERIES)).to(tl.int64)
    key = (tl.program_id(1) * BLOCK_KEYS + tl.arange(0, BLOCK_KEYS)).to(tl.int64)
    dtype = grad.dtype.element_ty
    p, _, same, itself, inside = _read(
        logits + image * stride_b,
        label + image * positions,
        key,
        query,
        first_key,
        keys,
        positions,
        stride_k,
        stride_q,
        dtype,
    )
    grad += image * positions + query
    step = images * positions
    has_query = query < positions
    of_mine = tl.load(grad, has_query, 0.0)[None, :]
    of_total = tl.load(grad + step, has_query, 0.0)[None, :]
    of_others = tl.load(grad + 2 * step, has_query, 0.0)[None, :]
    of_bce = tl.load(grad + 3 * step, has_query, 0.0)[None, :]
    companion = same
    if not COUNT_SELF:
        companion = companion & (itself == 0)
    slope = of_total + tl.where(companion, of_mine, 0.0) - tl.where(same, 0.0, of_others)
    variance = p * (1 - p)
    error = p - same.to(dtype)
    if CLAMPED:
        error *= tl.minimum(variance / SMALLEST, 1.0)
    result = variance * slope + error * of_bce
    out += image * out_stride_b + key[:, None] * out_stride_k + query[None, :] * out_stride_q
    tl.store(out, result.to(out.dtype.element_ty), inside)


def add_affinity_sums_triton(
    sums: Tensor,
    logits: Tensor,
    label: Tensor,
    first_key: int,
    largest: float,
    clamped_bce: bool,
    count_self: bool,
) -> None:
    """Add some keys' part to ``sums`` (4, B, N), in place."""
    images, keys, positions = logits.shape
    if logits.numel() == 0:
        return
    with torch.cuda.device_of(logits):
        _sums_kernel[(triton.cdiv(positions, BLOCK_QUERIES), images)](
            sums,
            logits,
            label.contiguous(),
            images,
            keys,
            positions,
            first_key,
            *logits.stride(),
            LARGEST=largest,
            CLAMPED=clamped_bce,
            COUNT_SELF=count_self,
            BLOCK_KEYS=BLOCK_KEYS,
            BLOCK_QUERIES=BLOCK_QUERIES,
        )


def affinity_sums_gradient_triton(
    grad: Tensor,
    logits: Tensor,
    label: Tensor,
    first_key: int,
    smallest: float,
    clamped_bce: bool,
    count_self: bool,
    out: Tensor,
) -> None:
    """Fill ``out`` (B, keys, N) with the gradient of some keys' logits."""
    images, keys, positions = logits.shape
    if logits.numel() == 0:
        return
    grid = (triton.cdiv(positions, BLOCK_QUERIES), triton.cdiv(keys, BLOCK_KEYS), images)
    with torch.cuda.device_of(logits):
        _gradient_kernel[grid](
            out,
            grad.contiguous(),
            logits,
            label.contiguous(),
            images,
            keys,
            positions,
            first_key,
            *logits.stride(),
            *out.stride(),
            SMALLEST=smallest,
            CLAMPED=clamped_bce,
            COUNT_SELF=count_self,
            BLOCK_KEYS=BLOCK_KEYS,
            BLOCK_QUERIES=BLOCK_QUERIES,
        )
