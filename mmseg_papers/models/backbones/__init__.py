"""Backbones."""

from .aligned_xception import AlignedXception
from .atrous_resnet import AtrousResNet
from .dilated_densenet import DilatedDenseNet
from .dilated_mobilenet_v2 import DilatedMobileNetV2
from .espnetv2 import ESPNetv2
from .full_mobilenet_v2 import FullMobileNetV2
from .hrnet import HighResolutionNet
from .light_weight_mobilenet_v2 import LightWeightMobileNetV2
from .multi_scale_backbone import MultiScaleBackbone
from .plugin_resnet import PluginResNetV1c
from .shufflenet_v2 import ShuffleNetV2

__all__ = [
    "AlignedXception",
    "AtrousResNet",
    "DilatedDenseNet",
    "DilatedMobileNetV2",
    "ESPNetv2",
    "FullMobileNetV2",
    "HighResolutionNet",
    "LightWeightMobileNetV2",
    "MultiScaleBackbone",
    "PluginResNetV1c",
    "ShuffleNetV2",
]
