"""Backbones."""

from .aligned_xception import AlignedXception
from .atrous_resnet import AtrousResNet
from .espnetv2 import ESPNetv2
from .full_mobilenet_v2 import FullMobileNetV2
from .hrnet import HighResolutionNet
from .plugin_resnet import PluginResNetV1c
from .shufflenet_v2 import ShuffleNetV2

__all__ = [
    "AlignedXception",
    "AtrousResNet",
    "ESPNetv2",
    "FullMobileNetV2",
    "HighResolutionNet",
    "PluginResNetV1c",
    "ShuffleNetV2",
]
