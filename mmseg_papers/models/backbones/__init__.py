"""Backbones."""

from .aligned_xception import AlignedXception
from .atrous_resnet import AtrousResNet
from .espnetv2 import ESPNetv2
from .hrnet import HighResolutionNet
from .plugin_resnet import PluginResNetV1c

__all__ = [
    "AlignedXception",
    "AtrousResNet",
    "ESPNetv2",
    "HighResolutionNet",
    "PluginResNetV1c",
]
