"""Decode heads."""

from .deeplabv3_head import DeepLabV3Head, DeepLabV3PlusHead
from .deeplabv3plus_decoder_head import DeepLabV3PlusDecoderHead
from .espnetv2_head import ESPNetv2Head
from .hrnet_head import HRNetV2Head
from .ocr_head import ASPOCRHead, ObjectContextHead
from .refinenet_head import LightWeightRefineNetHead, RefineNetHead
from .sisr_head import DeepLabV3PlusSISRHead, SISRHead

__all__ = [
    "ASPOCRHead",
    "DeepLabV3Head",
    "DeepLabV3PlusDecoderHead",
    "DeepLabV3PlusHead",
    "DeepLabV3PlusSISRHead",
    "ESPNetv2Head",
    "HRNetV2Head",
    "LightWeightRefineNetHead",
    "ObjectContextHead",
    "RefineNetHead",
    "SISRHead",
]
