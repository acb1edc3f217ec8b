"""Backbones."""

from .atrous_resnet import AtrousResNet
from .hrnet import HighResolutionNet
from .light_weight_mobilenet_v2 import LightWeightMobileNetV2
from .multi_scale_backbone import MultiScaleBackbone

__all__ = [
    "AtrousResNet",
    "HighResolutionNet",
    "LightWeightMobileNetV2",
    "MultiScaleBackbone",
]
