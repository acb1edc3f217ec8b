"""Building blocks that several models share."""

from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .norm_prelu import NormPReLU
from .sssr import BilinearSSSR, DeconvSSSR

__all__ = [
    "BilinearSSSR",
    "CompleteLoading",
    "DeconvSSSR",
    "NormPReLU",
    "build_upsample",
    "require_layer",
]
