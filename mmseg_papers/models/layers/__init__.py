"""Building blocks that several models share."""

from .aspp import ASPP, DeepLabV3PlusDecoder
from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .norm_prelu import NormPReLU
from .output_stride import set_stride_and_rate, strides_to_rates
from .sssr import BilinearSSSR, DeconvSSSR

__all__ = [
    "ASPP",
    "BilinearSSSR",
    "CompleteLoading",
    "DeconvSSSR",
    "DeepLabV3PlusDecoder",
    "NormPReLU",
    "build_upsample",
    "require_layer",
    "set_stride_and_rate",
    "strides_to_rates",
]
