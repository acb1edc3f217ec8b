"""Backbones."""

from .espnetv2 import ESPNetv2
from .hrnet import HighResolutionNet

__all__ = ["ESPNetv2", "HighResolutionNet"]
