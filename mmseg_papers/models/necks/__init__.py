"""Necks."""

from .hrfpn import HighResolutionFPN

__all__ = ["HighResolutionFPN"]
