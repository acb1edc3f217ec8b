"""Cross entropy with class weights that tolerates ignored pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmseg.models.losses import CrossEntropyLoss
from mmseg.models.losses.utils import weight_reduce_loss
from mmseg.registry import MODELS
from torch import Tensor

from ...ops.precision import accumulation_dtype


def check_class_weight(class_weight: Sequence[float] | Tensor | None, pred: Tensor) -> None:
    """Refuse weights that are not one for each class.

    Args:
        class_weight (Sequence[float] | Tensor, optional): (K,).
        pred (Tensor): Logits, (N, K, H, W).

    Raises:
        ValueError: If there are more or fewer weights than classes.
    """
    if class_weight is not None and len(class_weight) != pred.shape[1]:
        raise ValueError(
            f"class_weight has {len(class_weight)} values and the logits {pred.shape[1]} classes"
        )


def weighted_cross_entropy(
    pred: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    reduction: str = "mean",
    avg_factor: float | None = None,
    ignore_index: int = -100,
    **kwargs,
) -> Tensor:
    """Cross entropy whose mean is sum(w_y ce) / sum(w_y) over the pixels that are not ignored.

    Args:
        pred (Tensor): Logits, (N, K, H, W).
        label (Tensor): Class indices, (N, H, W), int64.
        weight (Tensor, optional): Weight of each pixel, (N, H, W), as ``mmseg``'s samplers give.
        class_weight (Tensor, optional): (K,).
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor (float, optional): Divisor of the mean in place of sum(w_y).
        ignore_index (int): Label of pixels without a class; heads hand theirs. Default: -100.
        **kwargs: What else ``mmseg``'s loss hands to its criterion; not used.

    Returns:
        Tensor: The loss, () or, unreduced, (N, H, W). Zero where every pixel is ignored.

    Raises:
        ValueError: If ``class_weight`` has not one value for each class.
    """
    check_class_weight(class_weight, pred)
    loss = F.cross_entropy(
        pred, label, weight=class_weight, reduction="none", ignore_index=ignore_index
    )
    # In half precision a sum over the pixels of a batch would overflow.
    loss = loss.to(accumulation_dtype(loss))
    if reduction == "mean" and avg_factor is None:
        valid = label != ignore_index
        if class_weight is None:
            avg_factor = valid.sum()
        else:
            label_weight = torch.where(valid, class_weight[label * valid], 0)
            avg_factor = label_weight.sum(dtype=loss.dtype)
    return weight_reduce_loss(loss, weight, reduction=reduction, avg_factor=avg_factor)


@MODELS.register_module()
class WeightedCrossEntropyLoss(CrossEntropyLoss):
    """Class-weighted cross entropy averaged as ``torch.nn.CrossEntropyLoss`` does.

    ``mmseg``'s ``CrossEntropyLoss`` raises an IndexError for ``class_weight`` together with ignored
    pixels, with ``avg_non_ignore=True`` too; this one works in any head in its place.
    The HRNet authors' loss for Cityscapes (``lib/core/criterion.py``).

    Args:
        class_weight (Sequence[float] | str, optional): Weight of each class, or a file with them.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``. Default: ``'mean'``.
        loss_weight (float): Factor of the whole loss. Default: 1.
        loss_name (str): Name in the log; begins with ``loss_``. Default: ``'loss_ce'``.

    Raises:
        ValueError: If ``reduction`` is unknown.
    """

    def __init__(
        self,
        class_weight: Sequence[float] | str | None = None,
        reduction: str = "mean",
        loss_weight: float = 1.0,
        loss_name: str = "loss_ce",
    ) -> None:
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(f"reduction must be none, mean or sum, got {reduction!r}")
        super().__init__(
            class_weight=class_weight,
            reduction=reduction,
            loss_weight=loss_weight,
            loss_name=loss_name,
            avg_non_ignore=True,
        )
        self.cls_criterion = weighted_cross_entropy
