"""Building blocks that several models share."""

from .aspp import ASPP, DeepLabV3PlusDecoder
from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .output_stride import set_stride_and_rate, strides_to_rates
from .strip_pooling import MixedPoolingModule, StripPoolingModule, reset_convs

__all__ = [
    "ASPP",
    "CompleteLoading",
    "DeepLabV3PlusDecoder",
    "MixedPoolingModule",
    "StripPoolingModule",
    "build_upsample",
    "require_layer",
    "reset_convs",
    "set_stride_and_rate",
    "strides_to_rates",
]
