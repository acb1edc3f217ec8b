"""Decode heads."""

from .deeplabv3_head import DeepLabV3Head, DeepLabV3PlusHead
from .deeplabv3plus_decoder_head import DeepLabV3PlusDecoderHead
from .dense_aspp_head import DenseASPPHead
from .espnetv2_head import ESPNetv2Head
from .hrnet_head import HRNetV2Head
from .ocr_head import ASPOCRHead, ObjectContextHead
from .sisr_head import DeepLabV3PlusSISRHead, SISRHead

__all__ = [
    "ASPOCRHead",
    "DeepLabV3Head",
    "DeepLabV3PlusDecoderHead",
    "DeepLabV3PlusHead",
    "DeepLabV3PlusSISRHead",
    "DenseASPPHead",
    "ESPNetv2Head",
    "HRNetV2Head",
    "ObjectContextHead",
    "SISRHead",
]
