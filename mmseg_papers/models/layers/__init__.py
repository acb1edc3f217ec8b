"""Building blocks that several models share."""

from .aspp import ASPP, DeepLabV3PlusDecoder
from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .output_stride import set_stride_and_rate, strides_to_rates
from .refinement import ChainedResidualPooling, FeaturePath, RefineBlock, ResidualConvUnit

__all__ = [
    "ASPP",
    "ChainedResidualPooling",
    "CompleteLoading",
    "DeepLabV3PlusDecoder",
    "FeaturePath",
    "RefineBlock",
    "ResidualConvUnit",
    "build_upsample",
    "require_layer",
    "set_stride_and_rate",
    "strides_to_rates",
]
