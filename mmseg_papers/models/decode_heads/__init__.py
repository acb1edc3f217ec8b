"""Decode heads."""

from .dense_aspp_head import DenseASPPHead
from .hrnet_head import HRNetV2Head

__all__ = ["DenseASPPHead", "HRNetV2Head"]
