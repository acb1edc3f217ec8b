"""Losses."""

from .affinity_loss import AffinityLoss, label_of_positions
from .cross_entropy_loss import WeightedCrossEntropyLoss
from .imbalance_losses import SoftDiceLoss, SoftmaxFocalLoss

__all__ = [
    "AffinityLoss",
    "SoftDiceLoss",
    "SoftmaxFocalLoss",
    "WeightedCrossEntropyLoss",
    "label_of_positions",
]
