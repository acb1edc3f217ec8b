"""Cross entropy weighted by the classes of each image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...ops.precision import accumulation_dtype
from ...ops.upsample_cross_entropy import class_indices


def image_class_weights(
    label: Tensor, num_classes: int, ignore_index: int, upper_bound: float = 1.0
) -> Tensor:
    """1 + u (1 - f_c) for the classes of an image, 1 for the others; f_c is a class's share.

    Args:
        label (Tensor): (N, H, W), int64.
        num_classes (int): K.
        ignore_index (int): Label of pixels without a class.
        upper_bound (float): u. Default: 1.

    Returns:
        Tensor: (N, K), float32.

    Raises:
        ValueError: If a label is neither a class nor ``ignore_index`` (CPU only).
    """
    classes, valid = class_indices(label, num_classes, ignore_index)
    counts = label.new_zeros(len(label), num_classes)
    counts.scatter_add_(1, classes.flatten(1), valid.flatten(1).long())  # integers: deterministic
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    return torch.where(counts > 0, 1 + upper_bound * (1 - share), 1)


@MODELS.register_module()
class ImageWeightedCrossEntropyLoss(nn.Module):
    """Cross entropy whose class weights come from each image (HANet's Mapillary pre-training).

    The weighted means of the images, sum(w_y ce) / sum(w_y) over the pixels that are not ignored,
    are added up (the authors' ``ImageBasedCrossEntropyLoss2d``); the weights are those of
    :func:`image_class_weights`.

    Args:
        loss_weight (float): Factor of the whole loss. Default: 1.
        loss_name (str): Name in the log; begins with ``loss_``. Default: ``'loss_ce'``.
        upper_bound (float): By how much the weight of a rare class exceeds 1, at most (the
            authors' ``--wt_bound``). Default: 1.

    Raises:
        ValueError: If ``upper_bound`` is negative.
    """

    def __init__(
        self, loss_weight: float = 1.0, loss_name: str = "loss_ce", upper_bound: float = 1.0
    ) -> None:
        if not upper_bound >= 0:
            raise ValueError(f"upper_bound must be at least 0, got {upper_bound!r}")
        super().__init__()
        self.upper_bound = upper_bound
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self, pred: Tensor, label: Tensor, weight: Tensor | None = None, ignore_index: int = 255
    ) -> Tensor:
        """Loss of a batch.

        Args:
            pred (Tensor): Logits, (N, K, H, W).
            label (Tensor): (N, H, W), int64.
            weight (Tensor, optional): Weight of each pixel, (N, H, W), of the numerator.
            ignore_index (int): Label of pixels without a class; heads hand theirs. Default: 255.

        Returns:
            Tensor: (), zero for images whose pixels are all ignored.

        Raises:
            ValueError: If a label is neither a class nor ``ignore_index`` (CPU only).
        """
        weights = image_class_weights(label, pred.shape[1], ignore_index, self.upper_bound)
        valid = label != ignore_index
        classes = torch.where(valid, label, 0)
        pixel = weights.gather(1, classes.flatten(1)).view(label.shape) * valid
        loss = F.cross_entropy(pred, label, reduction="none", ignore_index=ignore_index)
        loss = loss.to(accumulation_dtype(loss)) * pixel
        if weight is not None:
            loss = loss * weight
        divisor = pixel.sum((1, 2)).clamp(min=torch.finfo(torch.float32).tiny)
        return self.loss_weight * (loss.sum((1, 2)) / divisor).sum()
