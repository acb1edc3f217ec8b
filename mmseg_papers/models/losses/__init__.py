"""Losses."""

from .cross_entropy_loss import WeightedCrossEntropyLoss

__all__ = ["WeightedCrossEntropyLoss"]
