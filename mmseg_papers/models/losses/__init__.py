"""Losses."""

from .affinity_loss import AffinityLoss, label_of_positions
from .cross_entropy_loss import WeightedCrossEntropyLoss
from .feature_affinity_loss import FeatureAffinityLoss
from .imbalance_losses import SoftDiceLoss, SoftmaxFocalLoss
from .ohem_cross_entropy_loss import OhemCrossEntropyLoss

__all__ = [
    "AffinityLoss",
    "FeatureAffinityLoss",
    "OhemCrossEntropyLoss",
    "SoftDiceLoss",
    "SoftmaxFocalLoss",
    "WeightedCrossEntropyLoss",
    "label_of_positions",
]
