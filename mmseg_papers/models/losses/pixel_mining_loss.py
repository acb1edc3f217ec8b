"""What losses have in common that choose the pixels of a batch by their cross entropy."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Tensor, nn

from ...ops.upsample_cross_entropy import class_indices
from .cross_entropy_loss import check_class_weight


class PixelMiningLoss(nn.Module, ABC):
    """Base of losses over pixels that are chosen by the cross entropy of every pixel.

    Segmentors of this package compute that from low-resolution logits, and call
    :meth:`of_pixel_losses`.
    """

    class_weight = None  # of those that have no such option

    def forward(
        self, pred: Tensor, label: Tensor, weight: Tensor | None = None, ignore_index: int = 255
    ) -> Tensor:
        """The loss.

        Args:
            pred (Tensor): Logits, (N, K, H, W).
            label (Tensor): Class indices, (N, H, W), int64.
            weight (Tensor, optional): Must be None: the loss chooses the pixels by itself.
            ignore_index (int): Label of pixels without a class; heads hand theirs. Default: 255.

        Returns:
            Tensor: (). Zero where every pixel is ignored.

        Raises:
            ValueError: If a sampler weights the pixels, ``class_weight`` has not one value for
                each class, or a label is neither a class nor ``ignore_index`` (the latter on a CPU
                only).
        """
        if weight is not None:
            raise ValueError(
                f"{type(self).__name__} chooses the pixels by itself; set sampler=None"
            )
        check_class_weight(self.class_weight, pred)
        class_indices(label, pred.shape[1], ignore_index)
        pixel_loss = F.cross_entropy(pred, label, reduction="none", ignore_index=ignore_index)
        return self.of_pixel_losses(pixel_loss, label, ignore_index)

    @abstractmethod
    def of_pixel_losses(self, pixel_loss: Tensor, label: Tensor, ignore_index: int) -> Tensor:
        """The loss from the unweighted cross entropy of every pixel.

        Args:
            pixel_loss (Tensor): (N, H, W), zero where the label is ``ignore_index``.
            label (Tensor): Class indices, (N, H, W).
            ignore_index (int): Label of pixels without a class.

        Returns:
            Tensor: ().
        """
