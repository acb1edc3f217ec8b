"""Backbones."""

from .hrnet import HighResolutionNet
from .light_weight_mobilenet_v2 import LightWeightMobileNetV2
from .multi_scale_backbone import MultiScaleBackbone

__all__ = ["HighResolutionNet", "LightWeightMobileNetV2", "MultiScaleBackbone"]
