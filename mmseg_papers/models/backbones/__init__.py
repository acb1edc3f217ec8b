"""Backbones."""

from .aligned_xception import AlignedXception
from .atrous_resnet import AtrousResNet
from .hrnet import HighResolutionNet

__all__ = ["AlignedXception", "AtrousResNet", "HighResolutionNet"]
