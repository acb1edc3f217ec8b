"""Building blocks that several models share."""

from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .height_attention import HeightAttention

__all__ = ["CompleteLoading", "HeightAttention", "build_upsample", "require_layer"]
