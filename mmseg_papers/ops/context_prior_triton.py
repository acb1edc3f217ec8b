"""Triton kernel of context_prior: an attention with learned keys and sigmoids for weights."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _context_kernel(
    value,
    weight,  # (positions, channels)
    scale,
    shift,
    out,
    channels,
    positions,
    stride_b,
    stride_c,
    stride_n,
    out_stride_b,
    out_stride_c,
    out_stride_n,
    CHANNELS: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
):
    image = tl.program_id(1).to(tl.int64)
    query = tl.program_id(0) * BLOCK_QUERIES + tl.arange(0, BLOCK_QUERIES)
    channel = tl.arange(0, CHANNELS)
    has_channel, has_query = channel < channels, query < positions
    value += image * stride_b + channel[:, None] * stride_c
    of_query = tl.load(
        value + query[None, :] * stride_n, has_channel[:, None] & has_query[None, :], 0.0
    )
    context = tl.zeros((CHANNELS, BLOCK_QUERIES), tl.float32)
    for start in range(0, positions, BLOCK_KEYS):
        key = start + tl.arange(0, BLOCK_KEYS)
        has_key = key < positions
        kernels = tl.load(
            weight + key[:, None] * channels + channel[None, :],
            has_key[:, None] & has_channel[None, :],
            0.0,
        ).to(of_query.dtype)
        scores = tl.dot(kernels, of_query, allow_tf32=False)
        a = tl.load(scale + key, has_key, 0.0)[:, None]
        b = tl.load(shift + key, has_key, 0.0)[:, None]
        prior = tl.where(has_key[:, None], 1 / (1 + tl.exp(-(scores * a + b))), 0.0)
        of_key = tl.load(
            value + key[None, :] * stride_n, has_channel[:, None] & has_key[None, :], 0.0
        )
        context += tl.dot(of_key, prior.to(of_key.dtype), allow_tf32=False)
    context /= positions
    out += image * out_stride_b + channel[:, None] * out_stride_c + query[None, :] * out_stride_n
    tl.store(out, context.to(out.dtype.element_ty), has_channel[:, None] & has_query[None, :])


def context_prior_triton(
    value: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, out: Tensor
) -> None:
    """Fill ``out`` (B, C, h, w) with the contexts of ``value``; one group, at most float32."""
    if value.numel() == 0:
        return
    flat, result = value.flatten(2), out.view(*out.shape[:2], -1)
    images, channels, positions = flat.shape
    # Tiles of all channels must fit the shared memory of a multiprocessor together.
    block = 32 if value.itemsize == 2 else 16
    _context_kernel[(triton.cdiv(positions, block), images)](
        flat,
        weight.contiguous(),
        scale.to(torch.float32),
        shift.to(torch.float32),
        result,
        channels,
        positions,
        *flat.stride(),
        *result.stride(),
        CHANNELS=max(triton.next_power_of_2(channels), 16),
        BLOCK_KEYS=block,
        BLOCK_QUERIES=block,
        num_warps=8,
        num_stages=1,
    )
