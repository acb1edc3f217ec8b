"""Segmentors that train and evaluate any MMSeg model in less memory, with mmseg's results."""

from .dsrl_encoder_decoder import DSRLEncoderDecoder
from .fused_encoder_decoder import FusedCascadeEncoderDecoder, FusedEncoderDecoder
from .fused_seg_tta import FusedSegTTAModel
from .hrnet_seg_tta import HRNetSegTTAModel
from .lazy_pixel_data import LazyPixelData
from .multi_band_preprocessor import MultiBandPreProcessor

__all__ = [
    "DSRLEncoderDecoder",
    "FusedCascadeEncoderDecoder",
    "FusedEncoderDecoder",
    "FusedSegTTAModel",
    "HRNetSegTTAModel",
    "LazyPixelData",
    "MultiBandPreProcessor",
]
