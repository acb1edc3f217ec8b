"""Segmentors that train and evaluate any MMSeg model in less memory, with mmseg's results."""

from .atrous_encoder_decoder import AtrousEncoderDecoder
from .dsrl_encoder_decoder import DSRLEncoderDecoder
from .flip_slide_encoder_decoder import FlipSlideEncoderDecoder
from .fused_encoder_decoder import FusedCascadeEncoderDecoder, FusedEncoderDecoder
from .fused_seg_tta import FusedSegTTAModel
from .height_attention import HeightAttentionCascadeEncoderDecoder, HeightAttentionEncoderDecoder
from .hrnet_seg_tta import HRNetSegTTAModel
from .lazy_pixel_data import LazyPixelData
from .multi_band_preprocessor import MultiBandPreProcessor

__all__ = [
    "AtrousEncoderDecoder",
    "DSRLEncoderDecoder",
    "FlipSlideEncoderDecoder",
    "FusedCascadeEncoderDecoder",
    "FusedEncoderDecoder",
    "FusedSegTTAModel",
    "HRNetSegTTAModel",
    "HeightAttentionCascadeEncoderDecoder",
    "HeightAttentionEncoderDecoder",
    "LazyPixelData",
    "MultiBandPreProcessor",
]
