"""DenseASPP: files of DeepMotionAIResearch/DenseASPP; torchvision's and mmpretrain's DenseNet."""

from __future__ import annotations

from torch import Tensor

from ..models.backbones.dilated_densenet import OF_MMPRETRAIN
from .keys import rename

RATES = (3, 6, 12, 18, 24)
#: First module of each stage of MobileNetV2 in the authors' list of 18.
MOBILENET_STAGES = (1, 2, 4, 7, 11, 14, 17)
#: Conv and norm of an inverted residual: the authors' index -> ours.
MOBILENET_LAYERS = {
    index: f"{i // 2}.{'bn' if i % 2 else 'conv'}" for i, index in enumerate((0, 1, 3, 4, 6, 7))
}
RULES = [
    (r"(?:features\.)?features\.0\.0\.", "backbone.conv1.conv."),
    (r"(?:features\.)?features\.0\.1\.", "backbone.conv1.bn."),
    *(
        (
            rf"(?:features\.)?features\.{first + block}\.conv\.{index}\.(?=\w+$)",
            f"backbone.layer{stage}.{block}.conv.{layer}.",
        )
        for stage, (first, last) in enumerate(
            zip(MOBILENET_STAGES, (*MOBILENET_STAGES[1:], 18), strict=True), start=1
        )
        for block in range(last - first)
        for index, layer in MOBILENET_LAYERS.items()
    ),
    (r"features\.(denseblock\d+\.denselayer\d+\.)(norm|conv)\.?([12])\.", r"backbone.\1\2\3."),
    (r"features\.((transition\d\.)?(norm|conv)\d?)\.", r"backbone.\1."),
    *(
        (rf"ASPP_{rate}\.(norm|conv)\.?([12])\.", rf"decode_head.aspp.{i}.\1\2.")
        for i, rate in enumerate(RATES)
    ),
    (r"classification\.1\.", "decode_head.conv_seg."),
    *(
        (rf"backbone\.{theirs}", lambda name, ours=ours: f"backbone.{ours(name)}")
        for theirs, ours in OF_MMPRETRAIN
    ),
    # The ImageNet classifier.
    (r"classifier\.|head\.fc\.", None),
    # A dense block, pyramid layer or transition alone.
    (r"(denselayer\d+\.)?(norm|conv)\.([12])\.", r"\1\2\3."),
    (r"(norm|conv)\.", r"\g<0>"),
]


def convert(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the authors' DenseASPP, or ImageNet weights of DenseNet -> ours.

    Args:
        state_dict (dict[str, Tensor]): The weights.

    Returns:
        dict[str, Tensor]: Weights of an ``EncoderDecoder`` with ``DilatedDenseNet`` or
        ``DilatedMobileNetV2`` and ``DenseASPPHead`` (ImageNet's: of its backbone), or of a
        ``DenseBlock``, ``DenseLayer`` or ``DenseTransition``.
    """
    return rename(state_dict, RULES)
