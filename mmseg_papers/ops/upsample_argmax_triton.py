"""Triton kernel of upsample_argmax: every pixel runs over the classes and keeps the best."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .bilinear import bilinear_taps
from .tensor_cache import cache_tensors

BLOCK = 256


@triton.jit
def _row_mix(x, row0, row1, weight, col0, col1, col_weight, stride_h, stride_w, mask):
    """Bilinear value: columns first, then rows, as PyTorch's kernels do."""
    a = (1 - col_weight) * tl.load(x + row0 * stride_h + col0 * stride_w, mask, 0.0).to(
        col_weight.dtype
    ) + col_weight * tl.load(x + row0 * stride_h + col1 * stride_w, mask, 0.0).to(col_weight.dtype)
    b = (1 - col_weight) * tl.load(x + row1 * stride_h + col0 * stride_w, mask, 0.0).to(
        col_weight.dtype
    ) + col_weight * tl.load(x + row1 * stride_h + col1 * stride_w, mask, 0.0).to(col_weight.dtype)
    return (1 - weight) * a + weight * b


@triton.jit
def _kernel(
    x,
    labels,
    confidence,
    row_taps,  # (taps, height) source rows
    row_weights,
    col_taps,
    col_weights,
    classes,
    height,
    width,
    stride_n,
    stride_k,
    stride_h,
    stride_w,
    TWICE: tl.constexpr,
    WITH_CONFIDENCE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    image = (tl.program_id(0) // height).to(tl.int64)
    row = tl.program_id(0) % height
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = col < width
    x += image * stride_n
    # Row taps are scalars, column taps vectors. The second pair belongs to the second resize.
    r00 = tl.load(row_taps + row)
    r01 = tl.load(row_taps + height + row)
    rw0 = tl.load(row_weights + row)
    c00 = tl.load(col_taps + col, mask, 0)
    c01 = tl.load(col_taps + width + col, mask, 0)
    cw0 = tl.load(col_weights + col, mask, 0.0)
    if TWICE:
        r10 = tl.load(row_taps + 2 * height + row)
        r11 = tl.load(row_taps + 3 * height + row)
        rw1 = tl.load(row_weights + height + row)
        rw = tl.load(row_weights + 2 * height + row)
        c10 = tl.load(col_taps + 2 * width + col, mask, 0)
        c11 = tl.load(col_taps + 3 * width + col, mask, 0)
        cw1 = tl.load(col_weights + width + col, mask, 0.0)
        cw = tl.load(col_weights + 2 * width + col, mask, 0.0)
    best = tl.full((BLOCK,), float("-inf"), cw0.dtype)
    label = tl.zeros((BLOCK,), tl.int32)
    total = tl.zeros((BLOCK,), cw0.dtype)
    for k in range(classes):
        value = _row_mix(x, r00, r01, rw0, c00, c01, cw0, stride_h, stride_w, mask)
        if TWICE:
            upper_right = _row_mix(x, r00, r01, rw0, c10, c11, cw1, stride_h, stride_w, mask)
            lower_left = _row_mix(x, r10, r11, rw1, c00, c01, cw0, stride_h, stride_w, mask)
            lower_right = _row_mix(x, r10, r11, rw1, c10, c11, cw1, stride_h, stride_w, mask)
            value = (1 - cw) * value + cw * upper_right
            value = (1 - rw) * value + rw * ((1 - cw) * lower_left + cw * lower_right)
        is_better = value > best
        label = tl.where(is_better, k, label)
        if WITH_CONFIDENCE:
            new_best = tl.maximum(value, best)
            total = total * tl.exp(best - new_best) + tl.exp(value - new_best)
            best = new_best
        else:
            best = tl.where(is_better, value, best)
        x += stride_k
    out = (image * height + row) * width + col
    tl.store(labels + out, label.to(labels.dtype.element_ty), mask)
    if WITH_CONFIDENCE:
        tl.store(confidence + out, 1 / total, mask)


@cache_tensors  # a dozen tiny launches otherwise, and a data set's sizes recur
def _axis_taps(
    in_size: int,
    size: int,
    start: int,
    cropped: int,
    out_size: int,
    is_flipped: bool,
    align_corners: bool,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Source positions and mixes of one axis: two and one, or four and three if resized twice."""
    lower, upper, weight = bilinear_taps(in_size, size, align_corners, device, dtype)
    first = [t[start : start + cropped] for t in (lower, upper, weight)]
    if is_flipped:
        first = [t.flip(0) for t in first]
    lower, upper, weight = first
    if out_size != cropped:
        left, right, mix = bilinear_taps(cropped, out_size, align_corners, device, dtype)
        taps = [lower[left], upper[left], lower[right], upper[right]]
        return torch.stack(taps), torch.stack([weight[left], weight[right], mix])
    # The same size: the second resize changes nothing along this axis.
    taps = [lower, upper, lower, upper]
    return torch.stack(taps), torch.stack([weight, weight, torch.zeros_like(weight)])


def upsample_argmax_triton(
    logits: Tensor,
    size: Sequence[int],
    align_corners: bool,
    crop: Sequence[int],
    out_size: Sequence[int],
    flip: str | None,
    labels: Tensor,
    confidence: Tensor,
) -> None:
    """Fill ``labels`` and, if not empty, ``confidence`` (float32 or float64), both (N, H, W)."""
    left, right, top, bottom = crop
    cropped = (size[0] - top - bottom, size[1] - left - right)
    rows, row_weights = _axis_taps(
        labels,
        logits.shape[2],
        size[0],
        top,
        cropped[0],
        out_size[0],
        flip == "vertical",
        align_corners,
        logits.device,
        confidence.dtype,
    )
    cols, col_weights = _axis_taps(
        labels,
        logits.shape[3],
        size[1],
        left,
        cropped[1],
        out_size[1],
        flip == "horizontal",
        align_corners,
        logits.device,
        confidence.dtype,
    )
    height, width = out_size
    if labels.numel() == 0:
        return
    with torch.cuda.device_of(logits):
        _kernel[(logits.shape[0] * height, triton.cdiv(width, BLOCK))](
            logits,
            labels,
            confidence,
            rows,
            row_weights,
            cols,
            col_weights,
            logits.shape[1],
            height,
            width,
            *logits.stride(),
            TWICE=tuple(out_size) != cropped,
            WITH_CONFIDENCE=confidence.numel() > 0,
            BLOCK=BLOCK,
        )
