"""Losses."""

from .cross_entropy_loss import WeightedCrossEntropyLoss
from .hard_pixel_mining_loss import HardPixelMiningLoss
from .imbalance_losses import SoftDiceLoss, SoftmaxFocalLoss

__all__ = [
    "HardPixelMiningLoss",
    "SoftDiceLoss",
    "SoftmaxFocalLoss",
    "WeightedCrossEntropyLoss",
]
