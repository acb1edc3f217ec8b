"""Losses."""

from .affinity_loss import AffinityLoss
from .cross_entropy_loss import WeightedCrossEntropyLoss

__all__ = ["AffinityLoss", "WeightedCrossEntropyLoss"]
