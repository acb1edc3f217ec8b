"""Losses, label maps and averages of sliding windows, which every model has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from mmseg.models.losses import accuracy
from torch import Tensor

from mmseg_papers import ops
from mmseg_papers.models.segmentors.sliding_window import SlidingWindow

from . import device, random_map


def cross_entropy(
    variant: str, layout: torch.memory_format, classes: int, low: tuple, high: tuple, reduction: str
) -> Callable[[], list[Tensor]]:
    """Loss, accuracy and gradient of resized logits, as a decode head of mmseg computes them."""
    logits = random_map((1, classes, *low), layout, grad=True)
    generator = torch.Generator().manual_seed(1)
    label = torch.randint(0, classes, (1, *high), generator=generator)
    label[:, : high[0] // 20] = 255
    label = label.to(device())

    def stock() -> list[Tensor]:
        full = F.interpolate(logits, high, mode="bilinear", align_corners=False)
        loss = F.cross_entropy(full, label, ignore_index=255, reduction="none")
        value = loss.sum() / label.numel() if reduction == "mean" else loss
        score = accuracy(full, label, ignore_index=255)
        del full  # as where mmseg's loss_by_feat returns
        (grad,) = torch.autograd.grad(value.sum(), logits)
        return [value.detach(), score, grad]

    def ours() -> list[Tensor]:
        value, score = ops.upsample_cross_entropy(logits, label, reduction=reduction)
        (grad,) = torch.autograd.grad(value.sum(), logits)
        return [value.detach(), score, grad]

    return stock if variant == "stock" else ours


def argmax(
    variant: str, layout: torch.memory_format, classes: int, low: tuple, high: tuple
) -> Callable[[], list[Tensor]]:
    """Label map of resized logits."""
    logits = random_map((1, classes, *low), layout)

    def stock() -> list[Tensor]:
        return [F.interpolate(logits, high, mode="bilinear", align_corners=False).argmax(1)]

    return stock if variant == "stock" else lambda: [ops.upsample_argmax(logits, high).long()]


def sliding_window(
    variant: str, layout: torch.memory_format, labels: bool
) -> Callable[[], list[Tensor]]:
    """Averaging the full-size logits of 25 windows over 2048 x 2048 pixels, 19 classes."""
    windows = SlidingWindow((2048, 2048), (512, 512), (384, 384), align_corners=False)
    logits = [random_map((1, 19, 512, 512), layout) for _ in range(25)]

    def stock() -> list[Tensor]:
        total = logits[0].new_zeros(1, 19, *windows.size)
        count = logits[0].new_zeros(1, 1, *windows.size)
        places = [(y, x) for y in windows.rows for x in windows.columns]
        for window, ((top, bottom), (left, right)) in zip(logits, places, strict=True):
            total += F.pad(window, (left, 2048 - right, top, 2048 - bottom))
            count[:, :, top:bottom, left:right] += 1
        total = total / count
        return [total.argmax(1)] if labels else [total.sum((2, 3))]

    def ours() -> list[Tensor]:
        bands = (band for _, band in windows.bands(logits, torch.float32))
        if labels:
            return [torch.cat([ops.upsample_argmax(b, b.shape[2:]).long() for b in bands], 1)]
        return [sum(band.sum((2, 3)) for band in bands)]

    return stock if variant == "stock" else ours


ADE, CITYSCAPES = (150, (64, 64), (512, 512)), (19, (128, 256), (1024, 2048))
TASKS = {
    "upsample_cross_entropy": {
        f"{c}x{h}x{w} -> {H}x{W}, {reduction}": partial(
            cross_entropy, classes=c, low=(h, w), high=(H, W), reduction=reduction
        )
        for c, (h, w), (H, W) in (ADE, CITYSCAPES)
        for reduction in ("mean", "none")
    },
    "upsample_argmax": {
        f"{c}x{h}x{w} -> {H}x{W}": partial(argmax, classes=c, low=(h, w), high=(H, W))
        for c, (h, w), (H, W) in (ADE, CITYSCAPES)
    },
    "sliding_window": {
        "25 windows": partial(sliding_window, labels=False),
        "25 windows, labels": partial(sliding_window, labels=True),
    },
}
