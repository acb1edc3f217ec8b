"""Cross entropy over the hard pixels of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from mmseg.registry import MODELS
from torch import Tensor

from ...ops.precision import accumulation_dtype
from .cross_entropy_loss import WeightedCrossEntropyLoss
from .pixel_mining_loss import PixelMiningLoss


@MODELS.register_module()
class OhemCrossEntropyLoss(PixelMiningLoss, WeightedCrossEntropyLoss):
    """Online hard example mining of the HRNet authors (``OhemCrossEntropy``, ``criterion.py``).

    Let p be the probability of a pixel's true class. The loss is the mean of the class-weighted
    cross entropy over the pixels with p < max(thres, the (min_kept + 1)-th smallest p of the
    batch); it is divided by their number, not by their weights.

    ``mmseg``'s ``OhemCrossEntropy`` has these values, but no decode head can call it (it takes no
    ``weight`` and ``ignore_index``), and it has no gradient where every pixel is ignored. Its
    ``OHEMPixelSampler`` differs: ``min_kept`` counts for each image, and the mean is over all
    pixels. The segmentors of this package compute the loss without full-resolution logits.

    With two outputs, the authors leave the auxiliary loss unreduced, and the mean that their
    training loop takes counts ignored pixels, too:
    ``WeightedCrossEntropyLoss(reduction='none', loss_weight=0.4)`` on the auxiliary head.

    Args:
        thres (float): Pixels whose true class is at least so probable are left out. Default: 0.9.
        min_kept (int): Pixels of a batch (of one GPU) that are kept in any case. Default: 131072.
        class_weight (Sequence[float] | str, optional): Weight of each class, or a file with them.
        loss_weight (float): Factor of the whole loss. Default: 1.
        loss_name (str): Name in the log; begins with ``loss_``. Default: ``'loss_ohem'``.

    Raises:
        ValueError: If ``thres`` is outside (0, 1] or ``min_kept`` is below 1.
    """

    def __init__(
        self,
        thres: float = 0.9,
        min_kept: int = 131072,
        class_weight: Sequence[float] | str | None = None,
        loss_weight: float = 1.0,
        loss_name: str = "loss_ohem",
    ) -> None:
        if not 0 < thres <= 1:
            raise ValueError(f"thres must be a probability in (0, 1], got {thres!r}")
        if min_kept < 1:
            raise ValueError(f"min_kept must be at least 1, got {min_kept!r}")
        super().__init__(class_weight=class_weight, loss_weight=loss_weight, loss_name=loss_name)
        self.thres = thres
        self.min_kept = min_kept

    def of_pixel_losses(self, pixel_loss: Tensor, label: Tensor, ignore_index: int) -> Tensor:
        """The loss from the unweighted cross entropy of every pixel.

        Args:
            pixel_loss (Tensor): -log p, (N, H, W).
            label (Tensor): Class indices, (N, H, W).
            ignore_index (int): Label of pixels without a class.

        Returns:
            Tensor: ().
        """
        valid = label != ignore_index
        # In half precision the mean over the pixels of a batch would overflow.
        pixel_loss = pixel_loss[valid].to(accumulation_dtype(pixel_loss))
        return self.loss_weight * self._mean_of_hard(pixel_loss, label[valid].long())

    def _mean_of_hard(self, pixel_loss: Tensor, label: Tensor) -> Tensor:
        """Of the pixels that are not ignored, both (pixels,)."""
        probability = pixel_loss.detach().neg().exp()
        if not probability.numel():
            return pixel_loss.sum()
        rank = min(self.min_kept, probability.numel() - 1)
        threshold = probability.kthvalue(rank + 1).values.clamp(min=self.thres)
        hard = probability < threshold
        weight = hard.to(pixel_loss)
        if self.class_weight is not None:
            weight = weight * pixel_loss.new_tensor(self.class_weight)[label]
        # Where every pixel has one probability, none is below it.
        return (pixel_loss * weight).sum() / hard.sum().clamp(min=1)
