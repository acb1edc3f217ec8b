"""Decode heads."""

from .deeplabv3_head import DeepLabV3Head, DeepLabV3PlusHead
from .hrnet_head import HRNetV2Head
from .plain_deeplabv3plus_head import LowResolutionFCNHead, PlainDeepLabV3PlusHead

__all__ = [
    "DeepLabV3Head",
    "DeepLabV3PlusHead",
    "HRNetV2Head",
    "LowResolutionFCNHead",
    "PlainDeepLabV3PlusHead",
]
