"""Building blocks that several models share."""

from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer

__all__ = ["CompleteLoading", "build_upsample", "require_layer"]
