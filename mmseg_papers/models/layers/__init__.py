"""Building blocks that several models share."""

from .aggregation import AggregationModule
from .aspp import ASPP, DeepLabV3PlusDecoder
from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .output_stride import set_stride_and_rate, strides_to_rates

__all__ = [
    "ASPP",
    "AggregationModule",
    "CompleteLoading",
    "DeepLabV3PlusDecoder",
    "build_upsample",
    "require_layer",
    "set_stride_and_rate",
    "strides_to_rates",
]
