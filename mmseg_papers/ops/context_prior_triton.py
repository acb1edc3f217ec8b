"""Triton kernel of context_prior: an attention with learned keys and sigmoids for weights."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .precision import convolutions_use_tf32, products_use_tf32


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
    TF32_SCORES: tl.constexpr,
    TF32_CONTEXT: tl.constexpr,
):
    image = tl.program_id(1).to(tl.int64)
    query = (tl.program_id(0) * BLOCK_QUERIES + tl.arange(0, BLOCK_QUERIES)).to(tl.int64)
    channel = tl.arange(0, CHANNELS).to(tl.int64)
    has_channel, has_query = channel < channels, query < positions
    value += image * stride_b + channel[:, None] * stride_c
    of_query = tl.load(
        value + query[None, :] * stride_n, has_channel[:, None] & has_query[None, :], 0.0
    )
    context = tl.zeros((CHANNELS, BLOCK_QUERIES), tl.float32)
    for start in range(0, positions, BLOCK_KEYS):
        key = (start + tl.arange(0, BLOCK_KEYS)).to(tl.int64)
        has_key = key < positions
        kernels = tl.load(
            weight + key[:, None] * channels + channel[None, :],
            has_key[:, None] & has_channel[None, :],
            0.0,
        ).to(of_query.dtype)
        scores = tl.dot(kernels, of_query, allow_tf32=TF32_SCORES)
        a = tl.load(scale + key, has_key, 0.0)[:, None]
        b = tl.load(shift + key, has_key, 0.0)[:, None]
        prior = tl.where(has_key[:, None], 1 / (1 + tl.exp(-(scores * a + b))), 0.0)
        of_key = tl.load(
            value + key[None, :] * stride_n, has_channel[:, None] & has_key[None, :], 0.0
        )
        context += tl.dot(of_key, prior.to(of_key.dtype), allow_tf32=TF32_CONTEXT)
    context /= positions
    out += image * out_stride_b + channel[:, None] * out_stride_c + query[None, :] * out_stride_n
    tl.store(out, context.to(out.dtype.element_ty), has_channel[:, None] & has_query[None, :])


def fits_shared_memory(value: Tensor) -> bool:
    """Whether the kernel's tiles of all channels, of queries, keys and weights, fit the GPU.

    Args:
        value (Tensor): (B, C, h, w), on CUDA.
    """
    tiles = 3 * _channels(value) * _block(value) * value.element_size()
    properties = torch.cuda.get_device_properties(value.device)
    # What a Turing GPU has, where an older PyTorch does not tell.
    return tiles <= getattr(properties, "shared_memory_per_block_optin", 64 << 10)


def _block(value: Tensor) -> int:
    """Keys, and queries, of a tile."""
    return 32 if value.element_size() == 2 else 16


def _channels(value: Tensor) -> int:
    """Channels of a tile."""
    return max(triton.next_power_of_2(value.shape[1]), 16)


def context_prior_triton(
    value: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, out: Tensor
) -> None:
    """Fill ``out`` (B, C, h, w), in a layout, with the contexts of ``value``.

    One group, at most float32.
    """
    if value.numel() == 0:
        return
    flat, result = value.flatten(2), out.view(*out.shape[:2], -1)
    images, channels, positions = flat.shape
    block = _block(value)
    with torch.cuda.device_of(value):
        _context_kernel[(triton.cdiv(positions, block), images)](
            flat,
            weight.contiguous(),
            *(t.to(torch.float32).contiguous() for t in (scale, shift)),
            result,
            channels,
            positions,
            *flat.stride(),
            *result.stride(),
            CHANNELS=_channels(value),
            BLOCK_KEYS=block,
            BLOCK_QUERIES=block,
            # As the convolution and the product that this replaces.
            TF32_SCORES=convolutions_use_tf32(),
            TF32_CONTEXT=products_use_tf32(),
            num_warps=8,
            num_stages=1,
        )
