"""Building blocks that several models share."""

from .aspp import ASPP, DeepLabV3PlusDecoder
from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .dense_block import DenseBlock, DenseLayer, DenseTransition
from .norm_prelu import NormPReLU
from .object_context import ObjectAttention, SpatialOCR, gather_objects
from .output_stride import set_stride_and_rate, strides_to_rates
from .sssr import BilinearSSSR, DeconvSSSR
from .stream_concat import convolve_concat, select_streams

__all__ = [
    "ASPP",
    "BilinearSSSR",
    "CompleteLoading",
    "DeconvSSSR",
    "DeepLabV3PlusDecoder",
    "DenseBlock",
    "DenseLayer",
    "DenseTransition",
    "NormPReLU",
    "ObjectAttention",
    "SpatialOCR",
    "build_upsample",
    "convolve_concat",
    "gather_objects",
    "require_layer",
    "select_streams",
    "set_stride_and_rate",
    "strides_to_rates",
]
