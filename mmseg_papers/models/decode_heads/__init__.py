"""Decode heads."""

from .espnetv2_head import ESPNetv2Head
from .hrnet_head import HRNetV2Head
from .sisr_head import SISRHead

__all__ = ["ESPNetv2Head", "HRNetV2Head", "SISRHead"]
