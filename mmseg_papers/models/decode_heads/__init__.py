"""Decode heads."""

from .hrnet_head import HRNetV2Head
from .ocr_head import ASPOCRHead, ObjectContextHead

__all__ = ["ASPOCRHead", "HRNetV2Head", "ObjectContextHead"]
