"""Decode heads."""

from .cp_head import CPHead
from .deeplabv3_head import DeepLabV3Head, DeepLabV3PlusHead
from .hrnet_head import HRNetV2Head

__all__ = [
    "CPHead",
    "DeepLabV3Head",
    "DeepLabV3PlusHead",
    "HRNetV2Head",
]
