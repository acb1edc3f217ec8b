"""HRNet and OCR: files of HRNet-Semantic-Segmentation, HRNet-Object-Detection, openseg.pytorch."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from .keys import fold_conv_bias, rename


def _conv_norm(theirs: str, ours: str, first: int = 0) -> list[tuple[str, str]]:
    """Rules for a conv and what follows it: a BN, or a BN and an activation (one level lower)."""
    return [
        (rf"{theirs}\.{first}\.", f"{ours}.conv."),
        (rf"{theirs}\.{first + 1}\.(0\.)?", f"{ours}.bn."),
    ]


def _attention(theirs: str, ours: str) -> list[tuple[str, str]]:
    return [
        *_conv_norm(f"{theirs}f_pixel", f"{ours}query_project.0"),
        *_conv_norm(f"{theirs}f_pixel", f"{ours}query_project.1", first=2),
        *_conv_norm(f"{theirs}f_object", f"{ours}key_project.0"),
        *_conv_norm(f"{theirs}f_object", f"{ours}key_project.1", first=2),
        *_conv_norm(f"{theirs}f_down", f"{ours}value_project"),
        *_conv_norm(f"{theirs}f_up", f"{ours}out_project"),
    ]


def _asp_ocr(theirs: str, ours: str) -> list[tuple[str, str]]:
    rules = _attention(
        rf"{theirs}context\.2\.object_context_block\.", f"{ours}object_context_block."
    )
    rules += _conv_norm(rf"{theirs}context", f"{ours}pixel_conv")
    for i in range(2, 6):
        rules += _conv_norm(rf"{theirs}conv{i}", f"{ours}branches.{i - 2}")
    return rules + _conv_norm(rf"{theirs}conv_bn_dropout", f"{ours}bottleneck")


OCR_BLOCK = "decode_head.1.object_context_block"
RULES = [
    # What FullModel, the ImageNet classifier and the detectors add.
    (r"loss\.", None),
    (r"(backbone\.)?(incre_modules|downsamp_modules|final_layer|classifier)\.", None),
    (r"(rpn_head|bbox_head|mask_head|mask_iou_head|semantic_head|shared_head|roi_head)\.", None),
    (r"backbone\.", r"\g<0>"),
    (r"((conv|bn)[12]|layer1|transition[123]|stage[234])\.(?=[a-z\d])", r"backbone.\g<0>"),
    # V2 and V1h.
    *_conv_norm("last_layer", "decode_head.convs.0"),
    (r"last_layer\.3\.", "decode_head.conv_seg."),
    # V2 of openseg.pytorch.
    *_conv_norm("cls_head", "decode_head.convs.0"),
    (r"cls_head\.3\.", "decode_head.conv_seg."),
    # V2p.
    (r"(neck\.)?reduction_conv\.0\.", r"\1reduction_conv.conv."),
    (r"(neck\.)?fpn_conv\.(\d+)\.", r"\1fpn_convs.\2.conv."),
    (r"(neck\.)?fpn_conv\.", r"\1fpn_convs.0.conv."),
    # OCR.
    *_conv_norm("aux_head", "decode_head.0.convs.0"),
    (r"aux_head\.[23]\.", "decode_head.0.conv_seg."),
    *_conv_norm(r"conv3x3(_ocr)?", "decode_head.1.bottleneck"),
    *_attention(r"ocr_distri_head\.object_context_block\.", f"{OCR_BLOCK}."),
    *_conv_norm(r"ocr_distri_head\.conv_bn_dropout", f"{OCR_BLOCK}.bottleneck"),
    *_asp_ocr(r"asp_ocr_head\.", "decode_head.1.asp_ocr."),
    (r"cls_head\.", "decode_head.1.conv_seg."),
]
#: Of a component alone, told by what its keys begin with.
COMPONENT_RULES = [
    ("branches.", [(r"(branches|fuse_layers)\.", r"\g<0>")]),
    ("f_pixel.", _attention("", "")),
    (
        "object_context_block.",
        [
            *_attention(r"object_context_block\.", ""),
            *_conv_norm("conv_bn_dropout", "bottleneck"),
        ],
    ),
    ("context.", _asp_ocr("", "")),
]
WRAPPER = r"^model\."
INPLACE_ABN_EPS = 1e-5
#: Where only InPlaceABN has its weights; a BN followed by an activation has them one level lower.
INPLACE_ABN_KEY = r".*\b(f_pixel\.1|conv_bn_dropout\.1|cls_head\.1)\.weight$"


def convert(state_dict: dict[str, Tensor], inplace_abn: bool | None = None) -> dict[str, Tensor]:
    """Weights of the authors' HRNet (V1, V1h, V2, V2p), with or without OCR -> ours.

    Biases of convs that a BN follows are folded into the BN; a classifier without bias gets zeros.

    Args:
        state_dict (dict[str, Tensor]): The authors' weights, with or without ``model.`` before
            every key.
        inplace_abn (bool, optional): True for files trained with PyTorch 0.4 (``*_torch04.pth``,
            openseg.pytorch's zoo), whose InPlaceABN scales by ``|weight| + 1e-5`` instead of
            ``weight``. In openseg.pytorch's heads it is also a LeakyReLU of slope 0.01 in place of
            the ReLU: build the decode heads with
            ``act_cfg=dict(type='LeakyReLU', negative_slope=0.01)``. Default: True where the keys
            are those of InPlaceABN, which only openseg.pytorch's are.

    Returns:
        dict[str, Tensor]: Weights of an ``EncoderDecoder`` with ``HighResolutionNet`` and
        ``HRNetV2Head`` (V1: ``FCNHead``), of a ``CascadeEncoderDecoder`` with ``HRNetV2Head`` and
        ``ObjectContextHead`` or ``ASPOCRHead``, or of a component: ``MultiResolutionModule``,
        ``HighResolutionFPN``, ``ObjectAttention``, ``SpatialOCR``, ``ASPOCR``.
    """
    state_dict = {re.sub(WRAPPER, "", key): value for key, value in state_dict.items()}
    if inplace_abn is None:
        inplace_abn = any(re.match(INPLACE_ABN_KEY, key) for key in state_dict)
    if inplace_abn:
        for key in state_dict:
            norm, _, name = key.rpartition(".")
            if name == "weight" and f"{norm}.running_mean" in state_dict:
                state_dict[key] = state_dict[key].abs() + INPLACE_ABN_EPS
    rules = RULES
    for beginning, of_component in COMPONENT_RULES:
        if any(key.startswith(beginning) for key in state_dict):
            rules = of_component
    if "last_layer.0.weight" in state_dict and "last_layer.1.running_mean" not in state_dict:
        rules = [(r"last_layer\.0\.", "decode_head.conv_seg."), *rules]  # V1: only a classifier
    converted = rename(state_dict, rules)
    for key in [key for key in converted if key.endswith(".conv.bias")]:
        conv = key.removesuffix(".bias")
        norm = f"{conv.removesuffix('.conv')}.bn"
        if f"{norm}.running_mean" in converted:
            fold_conv_bias(converted, conv, norm)
    for key in [key for key in converted if key.endswith("conv_seg.weight")]:
        bias = key.replace("weight", "bias")
        if bias not in converted:
            converted[bias] = torch.zeros(len(converted[key]))
    return converted
