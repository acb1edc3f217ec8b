"""Triton kernels of upsample_cross_entropy.

Both read the logits at their own resolution, small enough for the second-level cache, and resize
them on the fly. Every sum has a fixed order: programs of the forward write partial sums, and
programs of the backward gather the pixels that a logit reaches.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .bilinear import bilinear_taps
from .precision import accumulation_dtype

FORWARD_COLUMNS = 128
BACKWARD_COLUMNS = 32
BACKWARD_CLASSES = 32


@triton.jit
def _resized(x, row_offset0, row_offset1, row_weight, offset0, offset1, weight, mask):
    """Bilinear value; the row offsets and weight are scalars, the others blocks."""
    top = (1 - weight) * tl.load(x + row_offset0 + offset0, mask, 0.0).to(weight.dtype)
    top += weight * tl.load(x + row_offset0 + offset1, mask, 0.0).to(weight.dtype)
    bottom = (1 - weight) * tl.load(x + row_offset1 + offset0, mask, 0.0).to(weight.dtype)
    bottom += weight * tl.load(x + row_offset1 + offset1, mask, 0.0).to(weight.dtype)
    return (1 - row_weight) * top + row_weight * bottom


@triton.jit
def _target(
    label,
    factor,
    class_weight,
    constants,
    offset,
    mask,
    classes,
    ignore_index,
    HAS_FACTOR: tl.constexpr,
    HAS_CLASS_WEIGHT: tl.constexpr,
):
    """Label of each pixel, whether it counts, its class weight, and the factors of its loss.

    The loss is ``of_total lse - of_true z_y - of_all sum_c w_c z_c``. A label out of range makes
    the factors NaN.
    """
    y = tl.load(label + offset, mask, 0).to(tl.int64)
    valid = mask & (y != ignore_index)
    is_class = (y >= 0) & (y < classes)
    scale = valid.to(constants.dtype.element_ty)
    weight = scale
    if HAS_CLASS_WEIGHT:
        weight = tl.load(class_weight + y, valid & is_class, 0.0)
    if HAS_FACTOR:
        scale *= tl.load(factor + offset, valid, 0.0)
    scale = tl.where(valid & (is_class == 0), float("nan"), scale)
    of_true = tl.load(constants) * scale * weight
    of_all = tl.load(constants + 1) * scale
    of_total = of_true + of_all * tl.load(constants + 2)
    return y, valid, weight, of_true, of_all, of_total


@triton.jit
def _forward_kernel(
    x,
    label,
    pixel_weight,
    class_weight,
    constants,
    row_lower,
    row_upper,
    row_weight,
    col_lower,
    col_upper,
    col_weight,
    loss,
    lse,
    partial,
    classes,
    height,
    width,
    ignore_index,
    stride_n,
    stride_k,
    stride_h,
    stride_w,
    HAS_PIXEL_WEIGHT: tl.constexpr,
    HAS_CLASS_WEIGHT: tl.constexpr,
    SMOOTHS: tl.constexpr,
    PER_PIXEL: tl.constexpr,
    KEEPS_LSE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Losses of ``BLOCK`` pixels of one row."""
    image = (tl.program_id(0) // height).to(tl.int64)
    row = tl.program_id(0) % height
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = col < width
    pixel = (image * height + row) * width + col
    y, valid, weight, of_true, of_all, of_total = _target(
        label,
        pixel_weight,
        class_weight,
        constants,
        pixel,
        mask,
        classes,
        ignore_index,
        HAS_PIXEL_WEIGHT,
        HAS_CLASS_WEIGHT,
    )
    x += image * stride_n
    row0 = tl.load(row_lower + row) * stride_h
    row1 = tl.load(row_upper + row) * stride_h
    row_mix = tl.load(row_weight + row)
    col0 = tl.load(col_lower + col, mask, 0) * stride_w
    col1 = tl.load(col_upper + col, mask, 0) * stride_w
    mix = tl.load(col_weight + col, mask, 0.0)
    # Any logit beats the lowest finite number; infinity would make NaN of its difference to itself.
    top = tl.full((BLOCK,), -3.4e38, mix.dtype)
    total = tl.zeros((BLOCK,), mix.dtype)
    true_logit = tl.zeros((BLOCK,), mix.dtype)
    all_logits = tl.zeros((BLOCK,), mix.dtype)
    for k in range(classes):
        z = _resized(x, row0, row1, row_mix, col0, col1, mix, mask)
        x += stride_k
        # One exponential a class: of the new logit, or of the old sum's correction.
        rise = z - top
        shrunk = tl.exp(-tl.abs(rise))
        total = tl.where(rise > 0, total * shrunk + 1, total + shrunk)
        top = tl.maximum(top, z)
        true_logit = tl.where(y == k, z, true_logit)
        if SMOOTHS:
            if HAS_CLASS_WEIGHT:
                all_logits += tl.load(class_weight + k) * z
            else:
                all_logits += z
    log_sum_exp = top + tl.log(total)
    value = of_total * log_sum_exp - of_true * true_logit
    if SMOOTHS:
        value -= of_all * all_logits
    if PER_PIXEL:
        tl.store(loss + pixel, value, mask)
    if KEEPS_LSE:
        tl.store(lse + pixel, log_sum_exp, mask)
    correct = (valid & (true_logit == top)).to(mix.dtype)
    partial += 4 * (tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1))
    tl.store(partial, tl.sum(correct, 0))
    tl.store(partial + 1, tl.sum(valid.to(mix.dtype), 0))
    tl.store(partial + 2, tl.sum(tl.where(valid, weight, 0.0), 0))
    tl.store(partial + 3, tl.sum(value, 0))


@triton.jit
def _backward_kernel(
    x,
    label,
    upstream,
    class_weight,
    constants,
    row_lower,
    row_upper,
    row_weight,
    row_start,
    row_stop,
    col_lower,
    col_upper,
    col_weight,
    col_start,
    col_stop,
    lse,
    grad,
    classes,
    in_height,
    in_width,
    height,
    width,
    ignore_index,
    stride_n,
    stride_k,
    stride_h,
    stride_w,
    grad_stride_n,
    grad_stride_k,
    grad_stride_h,
    grad_stride_w,
    HAS_UPSTREAM: tl.constexpr,
    HAS_CLASS_WEIGHT: tl.constexpr,
    SMOOTHS: tl.constexpr,
    BLOCK: tl.constexpr,
    CLASSES: tl.constexpr,
):
    """Gradient of ``BLOCK`` logits of one low-resolution row for ``CLASSES`` classes."""
    image = (tl.program_id(0) // in_height).to(tl.int64)
    in_row = tl.program_id(0) % in_height
    in_col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    k = (tl.program_id(2) * CLASSES + tl.arange(0, CLASSES)).to(tl.int64)[None, :]
    is_class = k < classes
    x += image * stride_n
    start = tl.load(col_start + in_col, in_col < in_width, 0)
    stop = tl.load(col_stop + in_col, in_col < in_width, 0)
    reach = tl.max(stop - start, 0)
    total = tl.zeros((BLOCK, CLASSES), constants.dtype.element_ty)
    for row in range(tl.load(row_start + in_row), tl.load(row_stop + in_row)):
        lower = tl.load(row_lower + row)
        upper = tl.load(row_upper + row)
        row_mix = tl.load(row_weight + row)
        row_part = tl.where(lower == in_row, 1 - row_mix, 0.0)
        row_part += tl.where(upper == in_row, row_mix, 0.0)
        for step in range(reach):
            col = start + step
            mask = col < stop
            left = tl.load(col_lower + col, mask, 0)
            right = tl.load(col_upper + col, mask, 0)
            mix = tl.load(col_weight + col, mask, 0.0)
            part = tl.where(left == in_col, 1 - mix, 0.0) + tl.where(right == in_col, mix, 0.0)
            pixel = (image * height + row) * width + col
            y, _, _, of_true, of_all, of_total = _target(
                label,
                upstream,
                class_weight,
                constants,
                pixel,
                mask,
                classes,
                ignore_index,
                HAS_UPSTREAM,
                HAS_CLASS_WEIGHT,
            )
            z = _resized(
                x,
                lower * stride_h,
                upper * stride_h,
                row_mix,
                left[:, None] * stride_w + k * stride_k,
                right[:, None] * stride_w + k * stride_k,
                mix[:, None],
                mask[:, None] & is_class,
            )
            g = tl.exp(z - tl.load(lse + pixel, mask, 0.0)[:, None]) * of_total[:, None]
            g -= tl.where(y[:, None] == k, of_true[:, None], 0.0)
            if SMOOTHS:
                if HAS_CLASS_WEIGHT:
                    g -= of_all[:, None] * tl.load(class_weight + k, is_class, 0.0)
                else:
                    g -= of_all[:, None]
            total += (row_part * part)[:, None] * g  # g is 0 outside the mask
    grad += image * grad_stride_n + in_row.to(tl.int64) * grad_stride_h
    offset = in_col[:, None].to(tl.int64) * grad_stride_w + k * grad_stride_k
    tl.store(grad + offset, total, (in_col < in_width)[:, None] & is_class)


def _constants(logits: Tensor, class_weight: Tensor | None, label_smoothing: float) -> Tensor:
    """Factors of the true class and of all classes, and the sum of the class weights.

    A tensor, because Triton hands over Python numbers in float32.
    """
    classes = logits.shape[1]
    factors = torch.empty(3, dtype=accumulation_dtype(logits), device=logits.device)
    for i, value in enumerate((1 - label_smoothing, label_smoothing / classes, classes)):
        factors[i].fill_(value)  # on the device: a copy from the host would wait for it
    if class_weight is not None:
        factors[2] = class_weight.sum()
    return factors


def _reached(lower: Tensor, upper: Tensor, in_size: int) -> tuple[Tensor, Tensor]:
    """First output position that each input position reaches, and the one after the last."""
    positions = torch.arange(in_size, device=lower.device)
    return torch.searchsorted(upper, positions), torch.searchsorted(lower, positions, right=True)


def cross_entropy_forward_triton(
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    align_corners: bool,
    per_pixel: bool,
    with_grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, sums and what the backward needs, as the tiled path returns them."""
    (images, classes, in_height, in_width), (height, width) = logits.shape, label.shape[1:]
    constants = _constants(logits, class_weight, label_smoothing)
    label = label.contiguous()
    if pixel_weight is not None:
        pixel_weight = pixel_weight.to(constants.dtype).contiguous()
    loss = constants.new_empty(label.shape if per_pixel else (0,))
    lse = constants.new_empty(label.shape if with_grad else (0,))
    grid = (images * height, triton.cdiv(width, FORWARD_COLUMNS))
    partial = constants.new_empty(grid[0] * grid[1], 4)
    if images:
        with torch.cuda.device_of(logits):
            _forward_kernel[grid](
                logits,
                label,
                pixel_weight,
                class_weight,
                constants,
                *bilinear_taps(in_height, height, align_corners, logits.device, constants.dtype),
                *bilinear_taps(in_width, width, align_corners, logits.device, constants.dtype),
                loss,
                lse,
                partial,
                classes,
                height,
                width,
                ignore_index,
                *logits.stride(),
                HAS_PIXEL_WEIGHT=pixel_weight is not None,
                HAS_CLASS_WEIGHT=class_weight is not None,
                SMOOTHS=label_smoothing > 0,
                PER_PIXEL=per_pixel,
                KEEPS_LSE=with_grad,
                BLOCK=FORWARD_COLUMNS,
            )
    *totals, total = partial.sum(0)
    totals = torch.stack(totals)
    if per_pixel:
        return loss, totals, lse
    if not with_grad:
        return total.clone(), totals, lse
    grad = cross_entropy_backward_triton(
        pixel_weight,
        logits,
        label,
        lse,
        class_weight,
        ignore_index,
        label_smoothing,
        align_corners,
    )
    return total.clone(), totals, grad


def cross_entropy_backward_triton(
    upstream: Tensor | None,
    logits: Tensor,
    label: Tensor,
    lse: Tensor,
    class_weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    align_corners: bool,
) -> Tensor:
    """Gradient (N, K, h, w) of sum(upstream * loss); an ``upstream`` of None is 1."""
    (images, classes, in_height, in_width), (height, width) = logits.shape, label.shape[1:]
    constants = _constants(logits, class_weight, label_smoothing)
    grad = torch.empty_like(logits, dtype=constants.dtype)
    if not images:
        return grad
    if upstream is not None:
        upstream = upstream.to(constants.dtype).contiguous()
    rows = bilinear_taps(in_height, height, align_corners, logits.device, constants.dtype)
    cols = bilinear_taps(in_width, width, align_corners, logits.device, constants.dtype)
    grid = (
        images * in_height,
        triton.cdiv(in_width, BACKWARD_COLUMNS),
        triton.cdiv(classes, BACKWARD_CLASSES),
    )
    with torch.cuda.device_of(logits):
        _backward_kernel[grid](
            logits,
            label.contiguous(),
            upstream,
            class_weight,
            constants,
            *rows,
            *_reached(*rows[:2], in_height),
            *cols,
            *_reached(*cols[:2], in_width),
            lse,
            grad,
            classes,
            in_height,
            in_width,
            height,
            width,
            ignore_index,
            *logits.stride(),
            *grad.stride(),
            HAS_UPSTREAM=upstream is not None,
            HAS_CLASS_WEIGHT=class_weight is not None,
            SMOOTHS=label_smoothing > 0,
            BLOCK=BACKWARD_COLUMNS,
            CLASSES=BACKWARD_CLASSES,
        )
    return grad
