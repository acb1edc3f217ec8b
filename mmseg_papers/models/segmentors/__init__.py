"""Segmentors that train and evaluate any MMSeg model in less memory, with mmseg's results."""

from .flip_slide_encoder_decoder import FlipSlideEncoderDecoder
from .fused_encoder_decoder import FusedCascadeEncoderDecoder, FusedEncoderDecoder
from .fused_seg_tta import FusedSegTTAModel
from .lazy_pixel_data import LazyPixelData

__all__ = [
    "FlipSlideEncoderDecoder",
    "FusedCascadeEncoderDecoder",
    "FusedEncoderDecoder",
    "FusedSegTTAModel",
    "LazyPixelData",
]
