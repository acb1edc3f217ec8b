"""Losses."""

from .cross_entropy_loss import WeightedCrossEntropyLoss
from .feature_affinity_loss import FeatureAffinityLoss
from .imbalance_losses import SoftDiceLoss, SoftmaxFocalLoss

__all__ = [
    "FeatureAffinityLoss",
    "SoftDiceLoss",
    "SoftmaxFocalLoss",
    "WeightedCrossEntropyLoss",
]
