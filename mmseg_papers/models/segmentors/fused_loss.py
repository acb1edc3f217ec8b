"""Losses of a decode head from its low-resolution logits."""

from __future__ import annotations

import torch
from mmseg.models.decode_heads.cascade_decode_head import BaseCascadeDecodeHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.models.losses.cross_entropy_loss import cross_entropy
from mmseg.structures import OHEMPixelSampler
from torch import Tensor, nn

from ...ops.upsample_cross_entropy import upsample_cross_entropy
from ..losses.cross_entropy_loss import WeightedCrossEntropyLoss, weighted_cross_entropy


def why_loss_is_not_fused(head: nn.Module) -> str | None:
    """What in a head keeps its losses from :func:`fused_losses`; None if nothing does."""
    if overrides(head, "loss") and not hasattr(head, "forward_with_losses"):
        return f"{type(head).__name__} has a loss of its own"
    if overrides(head, "loss_by_feat"):
        return f"{type(head).__name__} has a loss_by_feat of its own"
    if head.out_channels == 1:
        return "out_channels is 1"
    for loss in _loss_modules(head):
        name = type(loss).__name__
        if type(loss) not in (CrossEntropyLoss, WeightedCrossEntropyLoss):
            return f"{name} is not cross entropy"
        if loss.cls_criterion not in (cross_entropy, weighted_cross_entropy):
            return f"{name} computes {loss.cls_criterion.__name__}"
    if head.sampler is not None and type(head.sampler) is not OHEMPixelSampler:
        return f"{type(head.sampler).__name__} is not OHEMPixelSampler"
    return None


def overrides(head: nn.Module, method: str) -> bool:
    """Whether a head has another ``method`` than ``mmseg``'s base classes."""
    of_mmseg = (getattr(BaseDecodeHead, method), getattr(BaseCascadeDecodeHead, method))
    return method in vars(head) or getattr(type(head), method, None) not in of_mmseg


def fused_losses(head: nn.Module, logits: Tensor, data_samples: list) -> dict[str, Tensor]:
    """What ``head.loss_by_feat`` gives, without resizing the logits to the labels' size.

    One difference: ``class_weight`` together with ignored pixels works in every ``mmseg`` (some
    versions and options raise an IndexError); the mean then divides by sum(w_y) over the pixels
    that are not ignored.

    Args:
        head (nn.Module): For which :func:`why_loss_is_not_fused` gives None.
        logits (Tensor): (N, K, h, w), its output.
        data_samples (list[SegDataSample]): With ``gt_sem_seg`` of one size.

    Returns:
        dict[str, Tensor]: The losses by ``loss_name``, and ``acc_seg``.
    """
    label = head._stack_batch_gt(data_samples).squeeze(1)
    pixel_weight = None if head.sampler is None else _ohem_weight(head, logits, label)
    losses: dict[str, Tensor] = {}
    for loss in _loss_modules(head):
        value, accuracy = upsample_cross_entropy(
            logits,
            label,
            class_weight=_class_weight(loss, logits),
            pixel_weight=pixel_weight,
            ignore_index=head.ignore_index,
            reduction=loss.reduction,
            avg_non_ignore=loss.avg_non_ignore,
            align_corners=head.align_corners,
        )
        losses[loss.loss_name] = losses.get(loss.loss_name, 0) + loss.loss_weight * value
    losses["acc_seg"] = accuracy
    return losses


@torch.no_grad()
def _ohem_weight(head: nn.Module, logits: Tensor, label: Tensor) -> Tensor:
    """``OHEMPixelSampler.sample``: 1 for the hard pixels, 0 for the others, (N, H, W)."""

    def pixel_loss(class_weight: Tensor | None = None) -> Tensor:
        loss, _ = upsample_cross_entropy(
            logits,
            label,
            class_weight=class_weight,
            ignore_index=head.ignore_index,
            reduction="none",
            align_corners=head.align_corners,
        )
        return loss[valid]

    sampler = head.sampler
    valid = label != head.ignore_index
    min_kept = sampler.min_kept * len(label)
    if sampler.thresh is not None:
        probability = pixel_loss().neg_().exp_()
        if probability.numel():
            rank = min(min_kept, probability.numel() - 1)
            threshold = probability.kthvalue(rank + 1).values.clamp(min=sampler.thresh)
            hard = probability < threshold
        else:
            hard = probability.bool()
    else:
        loss = sum(
            module.loss_weight * pixel_loss(_class_weight(module, logits))
            for module in _loss_modules(head)
        )
        hard = torch.zeros_like(loss, dtype=torch.bool)
        hard[loss.sort(descending=True).indices[:min_kept]] = True
    weight = logits.new_zeros(label.shape)
    weight[valid] = hard.to(weight)
    return weight


def _loss_modules(head: nn.Module) -> list[nn.Module]:
    losses = head.loss_decode
    return list(losses) if isinstance(losses, nn.ModuleList) else [losses]


def _class_weight(loss: nn.Module, logits: Tensor) -> Tensor | None:
    if loss.class_weight is None:
        return None
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return torch.as_tensor(loss.class_weight, dtype=dtype, device=logits.device)
