"""Decode heads."""

from .cp_head import CPHead
from .deeplabv3_head import DeepLabV3Head, DeepLabV3PlusHead
from .deeplabv3plus_decoder_head import DeepLabV3PlusDecoderHead
from .dense_aspp_head import DenseASPPHead
from .espnetv2_head import ESPNetv2Head
from .hrnet_head import HRNetV2Head
from .low_resolution_loss import LowResolutionFCNHead
from .ocr_head import ASPOCRHead, ObjectContextHead
from .plain_deeplabv3plus_head import PlainDeepLabV3PlusHead
from .refinenet_head import LightWeightRefineNetHead, RefineNetHead
from .sisr_head import DeepLabV3PlusSISRHead, SISRHead
from .sp_head import SPHead

__all__ = [
    "ASPOCRHead",
    "CPHead",
    "DeepLabV3Head",
    "DeepLabV3PlusDecoderHead",
    "DeepLabV3PlusHead",
    "DeepLabV3PlusSISRHead",
    "DenseASPPHead",
    "ESPNetv2Head",
    "HRNetV2Head",
    "LightWeightRefineNetHead",
    "LowResolutionFCNHead",
    "ObjectContextHead",
    "PlainDeepLabV3PlusHead",
    "RefineNetHead",
    "SISRHead",
    "SPHead",
]
