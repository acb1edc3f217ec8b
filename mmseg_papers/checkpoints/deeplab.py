"""DeepLabV3 and V3+: TensorFlow's files, two PyTorch ports', and timm's Xception."""

from __future__ import annotations

import re

from torch import Tensor

from ..models.backbones.aligned_xception import ARCHS
from .keys import log_left_out, rename

#: End of a TensorFlow name -> ours, and the order of axes that makes it PyTorch's
TENSORFLOW_ENDS = {
    "depthwise_weights": ("conv.weight", (2, 3, 0, 1)),
    "weights": ("conv.weight", (3, 2, 0, 1)),
    "biases": ("conv.bias", (0,)),
    "BatchNorm/gamma": ("bn.weight", (0,)),
    "BatchNorm/beta": ("bn.bias", (0,)),
    "BatchNorm/moving_mean": ("bn.running_mean", (0,)),
    "BatchNorm/moving_variance": ("bn.running_var", (0,)),
}
#: What a training leaves in a checkpoint beside the variables of the model
TENSORFLOW_EXTRAS = (
    r"global_step$|beta[12]_power$|.*/(Momentum|Adam|Adam_1|ExponentialMovingAverage)$"
)


def _before(match: re.Match, group: int) -> int:
    """A number that counts from 1, counted from 0."""
    return int(match[group]) - 1


def _xception_block(match: re.Match) -> str:
    entry, num_middle = ARCHS[int(match[1])]
    first = {"entry": 0, "middle": len(entry), "exit": len(entry) + num_middle}[match[2]]
    # The middle flow is one block of many units, the others are blocks of one.
    return f"backbone.blocks.{first + _before(match, 4 if match[2] == 'middle' else 3)}."


XCEPTION_MODULE = (
    r"xception_(41|65|71)/(entry|middle|exit)_flow/block(\d)/unit_(\d+)/xception_module/"
)
BOTTLENECK = r"resnet_v1_(?:50|101)/block(\d)/unit_(\d+)/bottleneck_v1/"
ASPP, DECODER = "decode_head.aspp.", "decode_head.decoder."
TENSORFLOW_RULES = [
    (r"xception_(41|65|71)/entry_flow/conv1_(\d)/", lambda m: f"backbone.stem.{_before(m, 2)}."),
    (
        rf"{XCEPTION_MODULE}separable_conv(\d)_(depthwise|pointwise)/",
        lambda m: f"{_xception_block(m)}convs.{_before(m, 5)}.{m[6]}_conv.",
    ),
    (rf"{XCEPTION_MODULE}shortcut/", lambda m: f"{_xception_block(m)}shortcut."),
    (
        r"resnet_v1_(?:50|101)/conv1_(\d)/(conv|bn)\.",
        lambda m: f"backbone.stem.{3 * _before(m, 1) + (m[2] == 'bn')}.",
    ),
    (r"resnet_v1_(?:50|101)/conv1/conv\.", "backbone.conv1."),
    (r"resnet_v1_(?:50|101)/conv1/bn\.", "backbone.bn1."),
    (
        rf"{BOTTLENECK}conv(\d)/(conv|bn)\.",
        lambda m: f"backbone.layer{m[1]}.{_before(m, 2)}.{m[4]}{m[3]}.",
    ),
    (
        rf"{BOTTLENECK}shortcut/(conv|bn)\.",
        lambda m: f"backbone.layer{m[1]}.{_before(m, 2)}.downsample.{int(m[3] == 'bn')}.",
    ),
    (r"(xception|resnet_v1)_\d+/logits/", None),  # the ImageNet classifier
    (r"image_pooling/", f"{ASPP}image_pool.1."),
    (r"aspp(\d)/", rf"{ASPP}aspp_modules.\1."),
    (r"aspp(\d)_(depthwise|pointwise)/", rf"{ASPP}aspp_modules.\1.\2_conv."),
    (r"concat_projection/", f"{ASPP}bottleneck."),
    (r"decoder/feature_projection0/", f"{DECODER}c1_bottleneck."),
    (r"decoder/decoder_conv(\d)_(depthwise|pointwise)/", rf"{DECODER}convs.\1.\2_conv."),
    (r"decoder/decoder_conv0/decoder_conv0_(\d)/", lambda m: f"{DECODER}convs.{_before(m, 1)}."),
    (r"logits/semantic/conv\.", "decode_head.conv_seg."),
]

TIMM_RULES = [
    (r"stem\.", r"backbone.\g<0>"),
    (
        r"blocks\.(\d+)\.stack\.conv(\d)\.(conv|bn)_(d|p)w\.",
        lambda m: (
            f"backbone.blocks.{m[1]}.convs.{_before(m, 2)}."
            f"{'depthwise' if m[4] == 'd' else 'pointwise'}_conv.{m[3]}."
        ),
    ),
    (r"blocks\.(\d+)\.shortcut\.", r"backbone.\g<0>"),
    (r"head\.", None),
]

JFZHANG95_RULES = [
    (r"backbone\.", r"\g<0>"),
    (
        r"aspp\.aspp(\d)\.(?:atrous_)?(conv|bn)\.",
        lambda m: f"{ASPP}aspp_modules.{_before(m, 1)}.{m[2]}.",
    ),
    (r"aspp\.global_avg_pool\.1\.", f"{ASPP}image_pool.1.conv."),
    (r"aspp\.global_avg_pool\.2\.", f"{ASPP}image_pool.1.bn."),
    (r"aspp\.(conv|bn)1\.", rf"{ASPP}bottleneck.\1."),
    (r"decoder\.(conv|bn)1\.", rf"{DECODER}c1_bottleneck.\1."),
    (r"decoder\.last_conv\.0\.", f"{DECODER}convs.0.conv."),
    (r"decoder\.last_conv\.1\.", f"{DECODER}convs.0.bn."),
    (r"decoder\.last_conv\.4\.", f"{DECODER}convs.1.conv."),
    (r"decoder\.last_conv\.5\.", f"{DECODER}convs.1.bn."),
    (r"decoder\.last_conv\.8\.", "decode_head.conv_seg."),
]

LAYER = ("conv", "bn")


def _vainf_rules(pyramid: str) -> list:
    return [
        (r"backbone\.", r"\g<0>"),
        (
            rf"{pyramid}convs\.([0-3])\.(\d)\.",
            lambda m: f"{ASPP}aspp_modules.{m[1]}.{LAYER[int(m[2])]}.",
        ),
        (
            rf"{pyramid}convs\.4\.([12])\.",
            lambda m: f"{ASPP}image_pool.1.{LAYER[_before(m, 1)]}.",
        ),
        (rf"{pyramid}project\.(\d)\.", lambda m: f"{ASPP}bottleneck.{LAYER[int(m[1])]}."),
    ]


VAINF_V3_RULES = [
    *_vainf_rules(r"classifier\.classifier\.0\."),
    (r"classifier\.classifier\.1\.", "decode_head.convs.0.conv."),
    (r"classifier\.classifier\.2\.", "decode_head.convs.0.bn."),
    (r"classifier\.classifier\.4\.", "decode_head.conv_seg."),
]
VAINF_V3PLUS_RULES = [
    *_vainf_rules(r"classifier\.aspp\."),
    (r"classifier\.project\.(\d)\.", lambda m: f"{DECODER}c1_bottleneck.{LAYER[int(m[1])]}."),
    (r"classifier\.classifier\.0\.", f"{DECODER}convs.0.conv."),
    (r"classifier\.classifier\.1\.", f"{DECODER}convs.0.bn."),
    (r"classifier\.classifier\.3\.", "decode_head.conv_seg."),
]


def convert(state_dict: dict[str, Tensor], drop_background: bool = False) -> dict[str, Tensor]:
    """Weights of the authors' DeepLab, or of a port of it -> ours.

    Read are: the authors' TensorFlow names and layout, as
    :func:`mmseg_papers.checkpoints.read_tensorflow_checkpoint` gives them, of Xception-41, 65, 71
    and ResNet-50, 101 (beta); ``jfzhang95/pytorch-deeplab-xception`` with ResNet-101 and
    ``VainF/DeepLabV3Plus-Pytorch`` with a ResNet, both DeepLabV3 and V3+; and ``timm``'s aligned
    Xception.

    Args:
        state_dict (dict[str, Tensor]): Their weights.
        drop_background (bool): Leave out the first class, which the authors' ADE20K file has for
            the pixels that it ignores. Default: False.

    Returns:
        dict[str, Tensor]: Weights of an ``EncoderDecoder``; where there is no classifier, of the
        backbone, the pyramid or the decoder alone.
    """
    if any("/" in key for key in state_dict):
        converted = rename(_in_pytorch_layout(state_dict), TENSORFLOW_RULES)
    elif any(key.startswith("aspp.") for key in state_dict):
        converted = rename(state_dict, JFZHANG95_RULES)
        _image_level_first(converted)
    elif any(key.startswith("classifier.aspp.") for key in state_dict):
        converted = rename(state_dict, VAINF_V3PLUS_RULES)
        _image_level_first(converted)
        # The port has the low-level map first in the decoder's concatenation.
        name = f"{DECODER}convs.0.conv.weight"
        low_level = converted[f"{DECODER}c1_bottleneck.conv.weight"].shape[0]
        converted[name] = converted[name].roll(-low_level, dims=1)
    elif any(key.startswith("classifier.classifier.") for key in state_dict):
        converted = rename(state_dict, VAINF_V3_RULES)
        _image_level_first(converted)
    else:
        converted = rename(state_dict, TIMM_RULES)
    if drop_background:
        for name in ("decode_head.conv_seg.weight", "decode_head.conv_seg.bias"):
            converted[name] = converted[name][1:]
    for part in ("backbone.", ASPP, DECODER):
        if all(key.startswith(part) for key in converted):
            return {key.removeprefix(part): value for key, value in converted.items()}
    return converted


def _in_pytorch_layout(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """TensorFlow's variables with PyTorch's ends of names and order of axes."""
    tensors, unknown = {}, []
    extras = [key for key in state_dict if re.match(TENSORFLOW_EXTRAS, key)]
    log_left_out(extras)
    for key, value in state_dict.items():
        if key in extras:
            continue
        for end, (ours, axes) in TENSORFLOW_ENDS.items():
            if key.endswith(f"/{end}"):
                tensors[key.removesuffix(end) + ours] = value.permute(axes).contiguous()
                break
        else:
            unknown.append(key)
    if unknown:
        raise KeyError(
            f"{len(unknown)} variables are no weights of a layer: {', '.join(unknown[:5])}"
        )
    return tensors


def _image_level_first(converted: dict[str, Tensor]) -> None:
    """Both ports concatenate the image level last."""
    name = f"{ASPP}bottleneck.conv.weight"
    image_level = converted[f"{ASPP}image_pool.1.conv.weight"].shape[0]
    converted[name] = converted[name].roll(image_level, dims=1)
