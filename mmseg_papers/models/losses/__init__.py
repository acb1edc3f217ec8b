"""Losses."""

from .cross_entropy_loss import WeightedCrossEntropyLoss
from .feature_affinity_loss import FeatureAffinityLoss
from .image_weighted_cross_entropy_loss import ImageWeightedCrossEntropyLoss
from .imbalance_losses import SoftDiceLoss, SoftmaxFocalLoss
from .ohem_cross_entropy_loss import OhemCrossEntropyLoss

__all__ = [
    "FeatureAffinityLoss",
    "ImageWeightedCrossEntropyLoss",
    "OhemCrossEntropyLoss",
    "SoftDiceLoss",
    "SoftmaxFocalLoss",
    "WeightedCrossEntropyLoss",
]
