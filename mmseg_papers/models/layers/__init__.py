"""Building blocks that several models share."""

from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .object_context import ObjectAttention, SpatialOCR, gather_objects
from .stream_concat import convolve_concat, select_streams

__all__ = [
    "CompleteLoading",
    "ObjectAttention",
    "SpatialOCR",
    "build_upsample",
    "convolve_concat",
    "gather_objects",
    "require_layer",
    "select_streams",
]
