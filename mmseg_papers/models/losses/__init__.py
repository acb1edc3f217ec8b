"""Losses."""

from .cross_entropy_loss import WeightedCrossEntropyLoss
from .imbalance_losses import SoftDiceLoss, SoftmaxFocalLoss
from .ohem_cross_entropy_loss import OhemCrossEntropyLoss

__all__ = [
    "OhemCrossEntropyLoss",
    "SoftDiceLoss",
    "SoftmaxFocalLoss",
    "WeightedCrossEntropyLoss",
]
