"""Backbones."""

from .atrous_resnet import AtrousResNet
from .hrnet import HighResolutionNet

__all__ = ["AtrousResNet", "HighResolutionNet"]
