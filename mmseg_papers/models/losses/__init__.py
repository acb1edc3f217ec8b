"""Losses."""

from .affinity_loss import AffinityLoss, label_of_positions
from .cross_entropy_loss import WeightedCrossEntropyLoss

__all__ = ["AffinityLoss", "WeightedCrossEntropyLoss", "label_of_positions"]
