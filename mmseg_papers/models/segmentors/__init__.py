"""Segmentors that train and evaluate any MMSeg model in less memory, with mmseg's results."""

from .fused_encoder_decoder import FusedCascadeEncoderDecoder, FusedEncoderDecoder
from .fused_seg_tta import FusedSegTTAModel
from .lazy_pixel_data import LazyPixelData
from .multi_band_preprocessor import MultiBandPreProcessor

__all__ = [
    "FusedCascadeEncoderDecoder",
    "FusedEncoderDecoder",
    "FusedSegTTAModel",
    "LazyPixelData",
    "MultiBandPreProcessor",
]
