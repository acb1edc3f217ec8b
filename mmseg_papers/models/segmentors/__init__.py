"""Segmentors that train and evaluate any MMSeg model in less memory, with mmseg's results."""

from .atrous_encoder_decoder import AtrousEncoderDecoder
from .dsrl_encoder_decoder import DSRLEncoderDecoder
from .end_point import EndPoint
from .flip_slide_encoder_decoder import FlipSlideEncoderDecoder
from .fused_encoder_decoder import (
    FusedCascadeEncoderDecoder,
    FusedEncoderDecoder,
    FusedSegmentorMixin,
)
from .fused_seg_tta import FusedSegTTAModel
from .height_attention import (
    HeightAttentionCascadeEncoderDecoder,
    HeightAttentionEncoderDecoder,
    HeightAttentionMixin,
)
from .hrnet_seg_tta import HRNetSegTTAModel
from .lazy_pixel_data import LazyPixelData
from .logit_seg_tta import LogitSegTTAModel
from .multi_band_preprocessor import MultiBandPreProcessor

__all__ = [
    "AtrousEncoderDecoder",
    "DSRLEncoderDecoder",
    "EndPoint",
    "FlipSlideEncoderDecoder",
    "FusedCascadeEncoderDecoder",
    "FusedEncoderDecoder",
    "FusedSegTTAModel",
    "FusedSegmentorMixin",
    "HRNetSegTTAModel",
    "HeightAttentionCascadeEncoderDecoder",
    "HeightAttentionEncoderDecoder",
    "HeightAttentionMixin",
    "LazyPixelData",
    "LogitSegTTAModel",
    "MultiBandPreProcessor",
]
