"""Backbones."""

from .atrous_resnet import AtrousResNet
from .hrnet import HighResolutionNet
from .plugin_resnet import PluginResNetV1c

__all__ = ["AtrousResNet", "HighResolutionNet", "PluginResNetV1c"]
