"""Losses."""

from .cross_entropy_loss import WeightedCrossEntropyLoss
from .feature_affinity_loss import FeatureAffinityLoss
from .hard_pixel_mining_loss import HardPixelMiningLoss
from .imbalance_losses import SoftDiceLoss, SoftmaxFocalLoss
from .ohem_cross_entropy_loss import OhemCrossEntropyLoss

__all__ = [
    "FeatureAffinityLoss",
    "HardPixelMiningLoss",
    "OhemCrossEntropyLoss",
    "SoftDiceLoss",
    "SoftmaxFocalLoss",
    "WeightedCrossEntropyLoss",
]
