"""Decode heads."""

from .hrnet_head import HRNetV2Head
from .sp_head import SPHead

__all__ = ["HRNetV2Head", "SPHead"]
