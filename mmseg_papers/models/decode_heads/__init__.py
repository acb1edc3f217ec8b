"""Decode heads."""

from .deeplabv3_head import DeepLabV3Head, DeepLabV3PlusHead
from .hrnet_head import HRNetV2Head
from .ocr_head import ASPOCRHead, ObjectContextHead

__all__ = [
    "ASPOCRHead",
    "DeepLabV3Head",
    "DeepLabV3PlusHead",
    "HRNetV2Head",
    "ObjectContextHead",
]
