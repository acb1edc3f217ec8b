"""Backbones, necks, heads, losses, segmentors and layers, laid out as in ``mmseg.models``."""

from . import backbones, decode_heads, layers, losses, necks, segmentors

__all__ = ["backbones", "decode_heads", "layers", "losses", "necks", "segmentors"]
