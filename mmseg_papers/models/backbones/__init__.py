"""Backbones."""

from .atrous_resnet import AtrousResNet
from .dilated_densenet import DilatedDenseNet
from .dilated_mobilenet_v2 import DilatedMobileNetV2
from .espnetv2 import ESPNetv2
from .hrnet import HighResolutionNet

__all__ = [
    "AtrousResNet",
    "DilatedDenseNet",
    "DilatedMobileNetV2",
    "ESPNetv2",
    "HighResolutionNet",
]
