"""Backbones."""

from .hrnet import HighResolutionNet
from .plugin_resnet import PluginResNetV1c

__all__ = ["HighResolutionNet", "PluginResNetV1c"]
