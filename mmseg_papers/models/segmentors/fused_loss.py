"""Losses of a decode head from its low-resolution logits."""

from __future__ import annotations

import math

import torch
from mmseg.models.decode_heads.cascade_decode_head import BaseCascadeDecodeHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss, FocalLoss
from mmseg.models.losses.cross_entropy_loss import binary_cross_entropy, cross_entropy
from mmseg.models.utils import resize
from mmseg.structures import OHEMPixelSampler
from torch import Tensor, nn

from ...ops.precision import accumulation_dtype
from ...ops.upsample_cross_entropy import class_indices, upsample_cross_entropy
from ..decode_heads.low_resolution_loss import LowResolutionLoss
from ..losses.cross_entropy_loss import WeightedCrossEntropyLoss, weighted_cross_entropy
from ..losses.hard_pixel_mining_loss import HardPixelMiningLoss
from ..losses.image_weighted_cross_entropy_loss import ImageWeightedCrossEntropyLoss
from ..losses.imbalance_losses import SoftmaxFocalLoss
from ..losses.ohem_cross_entropy_loss import OhemCrossEntropyLoss
from ..losses.prob_ohem_cross_entropy_loss import ProbOhemCrossEntropyLoss

PIXEL_MINING = (HardPixelMiningLoss, OhemCrossEntropyLoss, ProbOhemCrossEntropyLoss)
#: Losses of a soft-max besides those with its criterion.
SOFT_MAX = (HardPixelMiningLoss, ImageWeightedCrossEntropyLoss, SoftmaxFocalLoss)


def why_loss_is_not_fused(head: nn.Module) -> str | None:
    """What in a head keeps its losses from :func:`fused_losses`.

    Args:
        head (nn.Module): A decode or auxiliary head.

    Returns:
        str, optional: The reason, for the log; None if nothing does.
    """
    if _has_own_loss(head):
        return f"{type(head).__name__} has a loss of its own"
    if overrides(head, "loss_by_feat"):
        return f"{type(head).__name__} has a loss_by_feat of its own"
    reasons = [_why_not_cross_entropy(head, loss) for loss in _loss_modules(head)]
    if None not in reasons:
        return reasons[0]
    if head.sampler is not None:
        if type(head.sampler) is not OHEMPixelSampler:
            return f"{type(head.sampler).__name__} is not OHEMPixelSampler"
        if head.out_channels == 1:
            return "out_channels is 1 and there is a sampler"
        if any(reasons):
            return f"{next(filter(None, reasons))} and there is a sampler"
    return None


def _why_not_cross_entropy(head: nn.Module, loss: nn.Module) -> str | None:
    """What keeps one loss of a head from the operation; None if nothing does."""
    name = type(loss).__name__
    if type(loss) is SoftmaxFocalLoss and head.out_channels > 1:
        return None
    if type(loss) in PIXEL_MINING and head.out_channels > 1:
        return None if head.sampler is None else f"{name} takes no sampler"
    if type(loss) not in (CrossEntropyLoss, WeightedCrossEntropyLoss):
        return f"{name} is not cross entropy"
    criteria = (cross_entropy, weighted_cross_entropy)
    if head.out_channels == 1:
        criteria = (binary_cross_entropy,)
    if loss.cls_criterion not in criteria:
        return f"{name} computes {loss.cls_criterion.__name__}"
    return None


def check_losses(head: nn.Module) -> None:
    """Refuse losses that do not fit a head's number of outputs, unless a project computes them.

    Args:
        head (nn.Module): A decode or auxiliary head.

    Raises:
        ValueError: If there is one output and a soft-max, whose loss is 0 whatever the model says;
            names the two right settings. If ``threshold`` of one output is not between 0 and 1. If
            ``class_weight`` has another number of values, or ``mmseg``'s code, which a head of this
            package calls for a loss at the size of its logits, fails with it and
            ``avg_non_ignore``.
    """
    if _computes_its_losses(head):
        return
    outputs = head.out_channels
    if outputs == 1 and why_loss_is_not_fused(head) is None:
        threshold = head.threshold
        if threshold is None or not 0 < threshold < 1:
            raise ValueError(
                f"threshold of {type(head).__name__} must be between 0 and 1, got {threshold!r}"
            )
    for loss in _loss_modules(head):
        class_weight = getattr(loss, "class_weight", None)
        if isinstance(loss, (CrossEntropyLoss, SoftmaxFocalLoss)) and class_weight is not None:
            allowed = (1, 2) if outputs == 1 else (outputs,)
            if len(class_weight) not in allowed:
                raise ValueError(
                    f"class_weight of {type(loss).__name__} must have one value for each of the "
                    f"{outputs} outputs of {type(head).__name__}, got {len(class_weight)}"
                )
            if _fails_with_weights(head, loss):
                raise ValueError(
                    f"{type(loss).__name__} of {type(head).__name__} fails in mmseg with "
                    "class_weight and avg_non_ignore=True; set loss_decode=dict(_delete_=True, "
                    "type='WeightedCrossEntropyLoss', class_weight=[..])"
                )
        is_soft_max = isinstance(loss, SOFT_MAX) or getattr(loss, "cls_criterion", None) in (
            cross_entropy,
            weighted_cross_entropy,
        )
        if outputs == 1 and is_soft_max:
            raise ValueError(
                f"{type(head).__name__} has num_classes={head.num_classes}, out_channels=1 and "
                f"soft-max {type(loss).__name__}: its loss is 0 and nothing is learnt. For one "
                "class and its background set num_classes=2 (labels 0 and 1) and either "
                "out_channels=1, threshold=0.5, loss_decode=dict(type='CrossEntropyLoss', "
                "use_sigmoid=True), or out_channels=2 with the loss as it is"
            )


def _fails_with_weights(head: nn.Module, loss: nn.Module) -> bool:
    """Whether ``mmseg``'s code computes a loss, and fails; that depends on version and options."""
    by_mmseg = isinstance(head, LowResolutionLoss) and type(loss) is CrossEntropyLoss
    if not by_mmseg or loss.cls_criterion is not cross_entropy:
        return False
    label = torch.zeros(1, 1, 1, dtype=torch.int64, device="cpu")
    try:
        loss(torch.zeros(1, head.out_channels, 1, 1, device="cpu"), label)
    except IndexError:
        return True
    return False


def check_device(head: nn.Module) -> None:
    """Refuse to train where a head's losses cannot be computed, unless a project computes them.

    Args:
        head (nn.Module): A decode or auxiliary head.

    Raises:
        ValueError: If ``mmseg``'s ``FocalLoss`` is to see several outputs without CUDA: its own
            path for them mistakes their sizes.
    """
    has_focal_loss = any(isinstance(loss, FocalLoss) for loss in _loss_modules(head))
    if not has_focal_loss or _computes_its_losses(head):
        return
    if head.out_channels > 1 and not next(head.parameters()).is_cuda:
        raise ValueError(
            f"FocalLoss of {type(head).__name__} needs CUDA for {head.out_channels} outputs; set "
            "loss_decode=dict(type='SoftmaxFocalLoss'), or train on a GPU"
        )


def _computes_its_losses(head: nn.Module) -> bool:
    """Whether a project's code does, which may use ``loss_decode`` or leave it at its default."""
    has_own_loss = is_foreign(head, "loss") and _has_own_loss(head)
    return has_own_loss or is_foreign(head, "loss_by_feat")


def _has_own_loss(head: nn.Module) -> bool:
    """Whether its ``loss`` is another than ``forward_with_losses`` or the base class's."""
    for owner in (head, *type(head).__mro__):
        if "forward_with_losses" in vars(owner):
            return False
        if "loss" in vars(owner):
            return overrides(head, "loss")
    return True


def is_foreign(head: nn.Module, method: str) -> bool:
    """Whether a project's code, outside ``mmseg`` and this package, defines a method of a head.

    Args:
        head (nn.Module): A decode or auxiliary head.
        method (str): Its name.

    Returns:
        bool: False if there is none.
    """
    function = getattr(head, method, None)
    known = ("mmseg", __name__.partition(".")[0])
    return function is not None and function.__module__.partition(".")[0] not in known


def overrides(head: nn.Module, method: str) -> bool:
    """Whether a head has another ``method`` than ``mmseg``'s base classes.

    Args:
        head (nn.Module): A decode or auxiliary head.
        method (str): Its name.

    Returns:
        bool: True for a method of its class or of the head itself, and for none at all.
    """
    of_mmseg = (getattr(BaseDecodeHead, method), getattr(BaseCascadeDecodeHead, method))
    return method in vars(head) or getattr(type(head), method, None) not in of_mmseg


def fused_losses(head: nn.Module, logits: Tensor, data_samples: list) -> dict[str, Tensor]:
    """What ``head.loss_by_feat`` gives; its cross entropies without resized logits.

    Losses of another kind share one resized map. Two differences: ``class_weight`` together with
    ignored pixels works in every ``mmseg`` (some versions and options raise an IndexError); the
    mean then divides by sum(w_y) over the pixels that are not ignored. And with one output channel
    ``acc_seg`` is the share of pixels on the right side of ``head.threshold``; ``mmseg``'s is the
    share of class 0, whatever the model says.

    Args:
        head (nn.Module): For which :func:`why_loss_is_not_fused` gives None.
        logits (Tensor): (N, K, h, w), its output.
        data_samples (list[SegDataSample]): With ``gt_sem_seg`` of one size.

    Returns:
        dict[str, Tensor]: The losses by ``loss_name``, and ``acc_seg``.
    """
    label = head._stack_batch_gt(data_samples).squeeze(1)
    pixel_weight = None if head.sampler is None else _ohem_weight(head, logits, label)
    full, accuracy = None, None
    losses: dict[str, Tensor] = {}
    for loss in _loss_modules(head):
        if _why_not_cross_entropy(head, loss) is not None:
            if full is None:
                full = resize(
                    logits, label.shape[1:], mode="bilinear", align_corners=head.align_corners
                )
            value = loss(full, label, weight=pixel_weight, ignore_index=head.ignore_index)
        elif isinstance(loss, SoftmaxFocalLoss):
            pixel_loss, accuracy = _cross_entropy(head, logits, label, reduction="none")
            value = loss.of_cross_entropy(pixel_loss, label, pixel_weight, head.ignore_index)
        elif isinstance(loss, PIXEL_MINING):
            pixel_loss, accuracy = _cross_entropy(head, logits, label, reduction="none")
            value = loss.of_pixel_losses(pixel_loss, label, head.ignore_index)
        elif head.out_channels == 1:
            value, accuracy = _binary_cross_entropy(head, loss, logits, label)
        else:
            value, accuracy = _cross_entropy(
                head,
                logits,
                label,
                class_weight=_class_weight(loss, logits),
                pixel_weight=pixel_weight,
                reduction=loss.reduction,
                avg_non_ignore=loss.avg_non_ignore,
            )
            value = loss.loss_weight * value
        losses[loss.loss_name] = losses.get(loss.loss_name, 0) + value
    losses["acc_seg"] = accuracy
    return losses


def _cross_entropy(
    head: nn.Module, logits: Tensor, label: Tensor, **options
) -> tuple[Tensor, Tensor]:
    return upsample_cross_entropy(
        logits,
        label,
        ignore_index=head.ignore_index,
        align_corners=head.align_corners,
        **options,
    )


def _binary_cross_entropy(
    head: nn.Module, loss: nn.Module, logits: Tensor, label: Tensor
) -> tuple[Tensor, Tensor]:
    """Sigmoid cross entropy of x is soft-max cross entropy of (0, x), before and after resizing."""
    pixel_weight = None
    if loss.class_weight is not None:
        weight = _class_weight(loss, logits)
        weight = torch.cat([weight.new_ones(1), weight]) if weight.numel() == 1 else weight
        pixel_weight = weight[class_indices(label, 2, head.ignore_index)[0]]
    value, _ = _cross_entropy(
        head,
        torch.cat([torch.zeros_like(logits), logits], dim=1),
        label,
        pixel_weight=pixel_weight,
        reduction=loss.reduction,
        avg_non_ignore=loss.avg_non_ignore,
    )
    with torch.no_grad():
        limit = torch.full_like(logits, math.log(head.threshold / (1 - head.threshold)))
        _, accuracy = _cross_entropy(head, torch.cat([limit, logits], dim=1), label)
    return loss.loss_weight * value, accuracy


@torch.no_grad()
def _ohem_weight(head: nn.Module, logits: Tensor, label: Tensor) -> Tensor:
    """``OHEMPixelSampler.sample``: 1 for the hard pixels, 0 for the others, (N, H, W)."""

    def pixel_loss(class_weight: Tensor | None = None) -> Tensor:
        loss, _ = _cross_entropy(head, logits, label, class_weight=class_weight, reduction="none")
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
    losses = getattr(head, "loss_decode", None)  # K-Net's head has none of its own
    if losses is None:
        return []
    return list(losses) if isinstance(losses, nn.ModuleList) else [losses]


def _class_weight(loss: nn.Module, logits: Tensor) -> Tensor | None:
    if loss.class_weight is None:
        return None
    weight = torch.as_tensor(loss.class_weight, dtype=accumulation_dtype(logits))
    return weight.to(logits.device, non_blocking=True)
