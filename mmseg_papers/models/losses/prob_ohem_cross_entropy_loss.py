"""Cross entropy over the hard pixels of a batch, weighted by class."""

from __future__ import annotations

import torch
from mmseg.registry import MODELS
from torch import Tensor

from .ohem_cross_entropy_loss import OhemCrossEntropyLoss


@MODELS.register_module()
class ProbOhemCrossEntropyLoss(OhemCrossEntropyLoss):
    """Online hard example mining of SPNet's first code (``ProbOhemCrossEntropy2d``).

    The loss is the mean, weighted by class, of the cross entropy over the pixels with p at most
    max(thres, the min_kept-th smallest p of the batch). :class:`OhemCrossEntropyLoss` divides by
    their number instead of their weights, and leaves a pixel out where fewer have a class.

    Args:
        thres (float): Pixels whose true class is more probable are left out. Default: 0.7.
        min_kept (int): Pixels of a batch (of one GPU) that are kept in any case. Default: 100000.
        **kwargs: As :class:`OhemCrossEntropyLoss`.

    Raises:
        ValueError: If ``thres`` is outside (0, 1] or ``min_kept`` is below 1.
    """

    def __init__(self, thres: float = 0.7, min_kept: int = 100000, **kwargs) -> None:
        super().__init__(thres, min_kept, **kwargs)

    def _mean_of_hard(self, pixel_loss: Tensor, label: Tensor) -> Tensor:
        weight = torch.ones_like(pixel_loss)
        if self.class_weight is not None:
            weight = pixel_loss.new_tensor(self.class_weight)[label]
        if pixel_loss.numel() >= self.min_kept:
            probability = pixel_loss.detach().neg().exp()
            threshold = probability.kthvalue(self.min_kept).values.clamp(min=self.thres)
            weight = weight * (probability <= threshold)
        total = weight.sum()
        # Without a pixel there is no mean; the sum is 0 then.
        return (pixel_loss * weight).sum() / total.where(total > 0, 1)
