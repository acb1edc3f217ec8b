"""Backbones, decode heads, losses and layers, laid out as in ``mmseg.models``."""

from . import backbones, decode_heads, layers, losses

__all__ = ["backbones", "decode_heads", "layers", "losses"]
