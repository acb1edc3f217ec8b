"""Backbones."""

from .atrous_resnet import AtrousResNet
from .espnetv2 import ESPNetv2
from .hrnet import HighResolutionNet
from .light_weight_mobilenet_v2 import LightWeightMobileNetV2
from .multi_scale_backbone import MultiScaleBackbone

__all__ = [
    "AtrousResNet",
    "ESPNetv2",
    "HighResolutionNet",
    "LightWeightMobileNetV2",
    "MultiScaleBackbone",
]
