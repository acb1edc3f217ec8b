"""Building blocks that several models share."""

from .aspp import ASPP, DeepLabV3PlusDecoder
from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .dense_block import DenseBlock, DenseLayer, DenseTransition
from .output_stride import set_stride_and_rate, strides_to_rates

__all__ = [
    "ASPP",
    "CompleteLoading",
    "DeepLabV3PlusDecoder",
    "DenseBlock",
    "DenseLayer",
    "DenseTransition",
    "build_upsample",
    "require_layer",
    "set_stride_and_rate",
    "strides_to_rates",
]
