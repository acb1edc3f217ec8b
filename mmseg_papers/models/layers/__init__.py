"""Building blocks that several models share."""

from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .refinement import ChainedResidualPooling, FeaturePath, RefineBlock, ResidualConvUnit

__all__ = [
    "ChainedResidualPooling",
    "CompleteLoading",
    "FeaturePath",
    "RefineBlock",
    "ResidualConvUnit",
    "build_upsample",
    "require_layer",
]
