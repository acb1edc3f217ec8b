"""Decode heads."""

from .cp_head import CPHead
from .hrnet_head import HRNetV2Head

__all__ = ["CPHead", "HRNetV2Head"]
