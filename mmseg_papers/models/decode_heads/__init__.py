"""Decode heads."""

from .hrnet_head import HRNetV2Head
from .refinenet_head import LightWeightRefineNetHead, RefineNetHead

__all__ = ["HRNetV2Head", "LightWeightRefineNetHead", "RefineNetHead"]
