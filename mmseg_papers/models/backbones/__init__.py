"""Backbones."""

from .atrous_resnet import AtrousResNet
from .espnetv2 import ESPNetv2
from .hrnet import HighResolutionNet

__all__ = ["AtrousResNet", "ESPNetv2", "HighResolutionNet"]
