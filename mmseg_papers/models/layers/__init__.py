"""Building blocks that several models share."""

from .aggregation import AggregationModule
from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer

__all__ = ["AggregationModule", "CompleteLoading", "build_upsample", "require_layer"]
