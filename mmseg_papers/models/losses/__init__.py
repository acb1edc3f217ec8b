"""Losses."""

from .cross_entropy_loss import WeightedCrossEntropyLoss
from .hard_pixel_mining_loss import HardPixelMiningLoss

__all__ = ["HardPixelMiningLoss", "WeightedCrossEntropyLoss"]
