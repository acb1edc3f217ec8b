"""Losses."""

from .cross_entropy_loss import WeightedCrossEntropyLoss
from .feature_affinity_loss import FeatureAffinityLoss

__all__ = ["FeatureAffinityLoss", "WeightedCrossEntropyLoss"]
