"""Losses."""

from .cross_entropy_loss import WeightedCrossEntropyLoss
from .imbalance_losses import SoftDiceLoss, SoftmaxFocalLoss

__all__ = ["SoftDiceLoss", "SoftmaxFocalLoss", "WeightedCrossEntropyLoss"]
