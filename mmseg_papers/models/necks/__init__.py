"""Necks."""

from .aspp_neck import ASPPNeck

__all__ = ["ASPPNeck"]
