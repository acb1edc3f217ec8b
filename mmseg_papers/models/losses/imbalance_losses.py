"""Losses for classes that fill few pixels, which leave ignored pixels out and run on any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmseg.models.losses.utils import get_class_weight
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...ops.precision import accumulation_dtype
from ...ops.upsample_cross_entropy import class_indices
from .cross_entropy_loss import check_class_weight


@MODELS.register_module()
class SoftDiceLoss(nn.Module):
    """One minus the soft Dice coefficient, averaged over the classes in the batch (V-Net).

    Dice of class k is 2 sum(p_k t_k) / (sum(p_k) + sum(t_k)) over the pixels that are not ignored.
    Classes without a pixel in the batch do not count, or a rare class would mostly be taught to be
    absent. ``mmseg``'s ``DiceLoss`` also learns from ignored pixels.

    Args:
        smooth (float): Added to numerator and denominator. Default: 1.
        loss_weight (float): Factor of the whole loss. Default: 1.
        loss_name (str): Name in the log; begins with ``loss_``. Default: ``'loss_dice'``.

    Raises:
        ValueError: If ``smooth`` is negative.
    """

    def __init__(
        self, smooth: float = 1.0, loss_weight: float = 1.0, loss_name: str = "loss_dice"
    ) -> None:
        super().__init__()
        if smooth < 0:
            raise ValueError(f"smooth must not be negative, got {smooth}")
        self.smooth = smooth
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self,
        pred: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = 255,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            pred (Tensor): Logits, (N, K, H, W); with K = 1, of class 1 against class 0.
            label (Tensor): Class indices, (N, H, W), int64.
            weight (Tensor, optional): Weight of each pixel, (N, H, W).
            ignore_index (int): Label of pixels without a class. Default: 255.

        Returns:
            Tensor: The loss, (), in float32 or wider; 0 where every pixel is ignored.

        Raises:
            ValueError: If the label has not the logits' size, or one is neither a class nor
                ``ignore_index`` (the latter on a CPU only).
        """
        if label.shape != (len(pred), *pred.shape[2:]):
            raise ValueError(
                f"logits of {tuple(pred.shape)} need a label of "
                f"{(len(pred), *pred.shape[2:])}, got {tuple(label.shape)}"
            )
        pred = pred.to(accumulation_dtype(pred))
        index, valid = class_indices(label, max(pred.shape[1], 2), ignore_index)
        counted = valid.to(pred)
        if weight is not None:
            counted = counted * weight
        counted, index = counted.unsqueeze(1), index.unsqueeze(1)
        if pred.shape[1] == 1:
            probability, target = pred.sigmoid(), index == 1
        else:
            probability = pred.softmax(dim=1)
            classes = torch.arange(pred.shape[1], device=label.device).view(1, -1, 1, 1)
            target = index == classes
        target = target * counted
        of_class = (0, 2, 3)
        overlap = (probability * target).sum(of_class)
        size = target.sum(of_class)
        total = (probability * counted).sum(of_class) + size
        dice = (2 * overlap + self.smooth) / (total + self.smooth).clamp(min=1e-12)
        present = (size > 0).to(pred)
        loss = ((1 - dice) * present).sum() / present.sum().clamp(min=1)
        return self.loss_weight * loss


@MODELS.register_module()
class SoftmaxFocalLoss(nn.Module):
    """Focal loss of the soft-max (arXiv:1708.02002, equation 5): alpha_y (1 - p_y)^gamma CE.

    It follows from each pixel's cross entropy CE = -log(p_y), so a fused segmentor needs no
    full-resolution logits for it. ``mmseg``'s ``FocalLoss`` takes the sigmoid of each class and
    fails on the CPU.

    Args:
        gamma (float): 0 gives cross entropy. Default: 2.
        class_weight (Sequence[float] | str, optional): alpha of each class, or a file with them.
            Default: 1.
        loss_weight (float): Factor of the whole loss. Default: 1.
        loss_name (str): Name in the log; begins with ``loss_``. Default: ``'loss_focal'``.

    Raises:
        ValueError: If ``gamma`` is negative.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        class_weight: Sequence[float] | str | None = None,
        loss_weight: float = 1.0,
        loss_name: str = "loss_focal",
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma must not be negative, got {gamma}")
        self.gamma = gamma
        self.class_weight = get_class_weight(class_weight)
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self,
        pred: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = 255,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            pred (Tensor): Logits, (N, K, H, W), K > 1.
            label (Tensor): Class indices, (N, H, W), int64.
            weight (Tensor, optional): Weight of each pixel, (N, H, W).
            ignore_index (int): Label of pixels without a class. Default: 255.

        Returns:
            Tensor: The mean over the pixels that are not ignored, ().

        Raises:
            ValueError: If ``class_weight`` has not one value for each class, or a label is neither
                a class nor ``ignore_index`` (the latter on a CPU only).
        """
        check_class_weight(self.class_weight, pred)
        class_indices(label, pred.shape[1], ignore_index)
        pixel_loss = F.cross_entropy(pred, label, reduction="none", ignore_index=ignore_index)
        return self.of_cross_entropy(pixel_loss, label, weight, ignore_index)

    def of_cross_entropy(
        self, pixel_loss: Tensor, label: Tensor, weight: Tensor | None, ignore_index: int
    ) -> Tensor:
        """The loss from each pixel's cross entropy.

        Args:
            pixel_loss (Tensor): (N, H, W), 0 where ignored.
            label (Tensor): As for :meth:`forward`.
            weight (Tensor, optional): As for :meth:`forward`.
            ignore_index (int): As for :meth:`forward`.

        Returns:
            Tensor: As :meth:`forward`.
        """
        pixel_loss = pixel_loss.to(accumulation_dtype(pixel_loss))
        valid = label != ignore_index
        # -expm1(-CE) is 1 - p_y without cancellation. With gamma < 1 its power has no slope at 0.
        tiny = torch.finfo(pixel_loss.dtype).tiny
        loss = (-torch.expm1(-pixel_loss)).clamp(min=tiny) ** self.gamma * pixel_loss
        if self.class_weight is not None:
            alpha = torch.tensor(self.class_weight, dtype=loss.dtype)
            loss = loss * alpha.to(loss.device, non_blocking=True)[label * valid]
        if weight is not None:
            loss = loss * weight
        return self.loss_weight * loss.sum() / valid.sum().clamp(min=1)
