"""Decode heads."""

from .deeplabv3_head import DeepLabV3Head, DeepLabV3PlusHead
from .hrnet_head import HRNetV2Head
from .refinenet_head import LightWeightRefineNetHead, RefineNetHead

__all__ = [
    "DeepLabV3Head",
    "DeepLabV3PlusHead",
    "HRNetV2Head",
    "LightWeightRefineNetHead",
    "RefineNetHead",
]
