"""Losses."""

from .affinity_loss import AffinityLoss, label_of_positions
from .cross_entropy_loss import WeightedCrossEntropyLoss
from .feature_affinity_loss import FeatureAffinityLoss
from .hard_pixel_mining_loss import HardPixelMiningLoss
from .image_weighted_cross_entropy_loss import ImageWeightedCrossEntropyLoss, image_class_weights
from .imbalance_losses import SoftDiceLoss, SoftmaxFocalLoss
from .ohem_cross_entropy_loss import OhemCrossEntropyLoss
from .prob_ohem_cross_entropy_loss import ProbOhemCrossEntropyLoss

__all__ = [
    "AffinityLoss",
    "FeatureAffinityLoss",
    "HardPixelMiningLoss",
    "ImageWeightedCrossEntropyLoss",
    "OhemCrossEntropyLoss",
    "ProbOhemCrossEntropyLoss",
    "SoftDiceLoss",
    "SoftmaxFocalLoss",
    "WeightedCrossEntropyLoss",
    "image_class_weights",
    "label_of_positions",
]
