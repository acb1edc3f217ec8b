"""Necks."""

from .aspp_neck import ASPPNeck
from .hrfpn import HighResolutionFPN

__all__ = [
    "ASPPNeck",
    "HighResolutionFPN",
]
