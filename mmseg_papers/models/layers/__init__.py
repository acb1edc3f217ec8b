"""Building blocks that several models share."""

from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .strip_pooling import MixedPoolingModule, StripPoolingModule, reset_convs

__all__ = [
    "CompleteLoading",
    "MixedPoolingModule",
    "StripPoolingModule",
    "build_upsample",
    "require_layer",
    "reset_convs",
]
