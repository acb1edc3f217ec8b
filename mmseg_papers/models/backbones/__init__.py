"""Backbones."""

from .hrnet import HighResolutionNet

__all__ = ["HighResolutionNet"]
