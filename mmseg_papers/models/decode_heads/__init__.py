"""Decode heads."""

from .deeplabv3_head import DeepLabV3Head, DeepLabV3PlusHead
from .dense_aspp_head import DenseASPPHead
from .hrnet_head import HRNetV2Head

__all__ = [
    "DeepLabV3Head",
    "DeepLabV3PlusHead",
    "DenseASPPHead",
    "HRNetV2Head",
]
