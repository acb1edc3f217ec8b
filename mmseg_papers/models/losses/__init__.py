"""Losses."""

from .cross_entropy_loss import WeightedCrossEntropyLoss
from .image_weighted_cross_entropy_loss import ImageWeightedCrossEntropyLoss

__all__ = ["ImageWeightedCrossEntropyLoss", "WeightedCrossEntropyLoss"]
