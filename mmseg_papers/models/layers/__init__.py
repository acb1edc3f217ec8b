"""Building blocks that several models share."""

from .aggregation import AggregationModule, PyramidPooling
from .aspp import ASPP, BranchProjection, DeepLabV3PlusDecoder
from .complete_loading import CompleteLoading
from .configurable import build_aggregation, build_upsample, require_layer, require_plain
from .conv_module import conv_module_layers, norm_and_activate
from .dense_block import DenseBlock, DenseLayer, DenseTransition
from .height_attention import HeightAttention, position_index, sinusoid_table
from .image_channels import check_image_channels
from .initialised_last import InitialisedLast
from .norm_prelu import NormPReLU
from .object_context import ObjectAttention, SpatialOCR, gather_objects
from .output_stride import set_stride_and_rate, strides_to_rates, warn_of_dead_rates
from .refinement import ChainedResidualPooling, FeaturePath, RefineBlock, ResidualConvUnit
from .residual_stage import (
    PlainResidualStage,
    ResidualStage,
    fuse_residual_stages,
)
from .sssr import BilinearSSSR, DeconvSSSR
from .stream_concat import convolve_concat, select_map, select_streams
from .strip_pooling import MixedPoolingModule, StripPoolingModule, reset_convs

__all__ = [
    "ASPP",
    "AggregationModule",
    "BilinearSSSR",
    "BranchProjection",
    "ChainedResidualPooling",
    "CompleteLoading",
    "DeconvSSSR",
    "DeepLabV3PlusDecoder",
    "DenseBlock",
    "DenseLayer",
    "DenseTransition",
    "FeaturePath",
    "HeightAttention",
    "InitialisedLast",
    "MixedPoolingModule",
    "NormPReLU",
    "ObjectAttention",
    "PlainResidualStage",
    "PyramidPooling",
    "RefineBlock",
    "ResidualConvUnit",
    "ResidualStage",
    "SpatialOCR",
    "StripPoolingModule",
    "build_aggregation",
    "build_upsample",
    "check_image_channels",
    "conv_module_layers",
    "convolve_concat",
    "fuse_residual_stages",
    "gather_objects",
    "norm_and_activate",
    "position_index",
    "require_layer",
    "require_plain",
    "reset_convs",
    "select_map",
    "select_streams",
    "set_stride_and_rate",
    "sinusoid_table",
    "strides_to_rates",
    "warn_of_dead_rates",
]
