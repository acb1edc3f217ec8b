"""Losses."""

from .cross_entropy_loss import WeightedCrossEntropyLoss
from .feature_affinity_loss import FeatureAffinityLoss
from .imbalance_losses import SoftDiceLoss, SoftmaxFocalLoss
from .ohem_cross_entropy_loss import OhemCrossEntropyLoss

__all__ = [
    "FeatureAffinityLoss",
    "OhemCrossEntropyLoss",
    "SoftDiceLoss",
    "SoftmaxFocalLoss",
    "WeightedCrossEntropyLoss",
]
