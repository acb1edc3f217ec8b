"""Building blocks that several models share."""

from .aspp import ASPP, DeepLabV3PlusDecoder
from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .norm_prelu import NormPReLU
from .object_context import ObjectAttention, SpatialOCR, gather_objects
from .output_stride import set_stride_and_rate, strides_to_rates
from .refinement import ChainedResidualPooling, FeaturePath, RefineBlock, ResidualConvUnit
from .sssr import BilinearSSSR, DeconvSSSR
from .stream_concat import convolve_concat, select_streams

__all__ = [
    "ASPP",
    "BilinearSSSR",
    "ChainedResidualPooling",
    "CompleteLoading",
    "DeconvSSSR",
    "DeepLabV3PlusDecoder",
    "FeaturePath",
    "NormPReLU",
    "ObjectAttention",
    "RefineBlock",
    "ResidualConvUnit",
    "SpatialOCR",
    "build_upsample",
    "convolve_concat",
    "gather_objects",
    "require_layer",
    "select_streams",
    "set_stride_and_rate",
    "strides_to_rates",
]
