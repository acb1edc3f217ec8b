"""HANet: files of shachoi/HANet (licence CC BY-NC 4.0; converted weights stay non-commercial)."""

from __future__ import annotations

import re

from torch import Tensor

from .keys import fold_conv_bias, rename

#: Layer of the authors' MobileNetV2 -> its first feature in torchvision's.
FIRST_FEATURE = {"0": 0, "1": 2, "2": 7, "3": 11, "4": 18}
#: First feature of each stage of mmseg's MobileNetV2, and one past the last.
STAGES = (1, 2, 4, 7, 11, 14, 17, 18)
CONV_BN = {"0": "conv", "1": "bn"}

HEADS = [
    (r"aspp\.(?=img_conv|features)", "decode_head.aspp."),
    (r"(?=img_conv|features)", ""),  # ASPP alone
    (r"bot_aspp\.", "decode_head.bottleneck."),
    (r"bot_fine\.", "decode_head.c1_bottleneck."),
    (r"final1\.([01])\.", r"decode_head.fuse.0.\1."),
    (r"final1\.3\.", "decode_head.fuse.1.0."),
    (r"final1\.4\.", "decode_head.fuse.1.1."),
    (r"final2\.0\.", "decode_head.conv_seg."),
    (r"dsn\.([01])\.", r"auxiliary_head.convs.0.\1."),
    (r"dsn\.4\.", "auxiliary_head.conv_seg."),
    (r"hanet(\d)\.", r"\g<0>"),
    (r"(attention_(first|second|third)|pos_emb1d_(1st|2nd))\.", r"\g<0>"),  # one layer alone
    (r"(fc|classifier)\.", None),  # of an ImageNet classifier
    (r"criterion(_aux)?\.", None),  # class weights of the losses, which the authors' net owns
]
RESNET = [
    (r"layer0\.0\.", "backbone.conv1."),
    (r"layer0\.1\.", "backbone.bn1."),
    (r"layer[1-4]\.", r"backbone.\g<0>"),
]
DEEP_STEM_RESNET = [(r"layer0\.", "backbone.stem."), (r"layer[1-4]\.", r"backbone.\g<0>")]
SHUFFLENET = [
    (r"layer0\.0\.", "backbone.conv1."),
    *(
        (
            rf"layer{layer}\.(\d+)\.branch{branch}\.{2 * conv + after_relu + half}\.",
            rf"backbone.layers.{layer - 1}.\1.branch{branch}.{conv}.{half}.",
        )
        for layer in (1, 2, 3)
        for branch, conv, after_relu in ((1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 1, 1), (2, 2, 1))
        for half in (0, 1)
    ),
    (r"layer4\.", "backbone.layers.3."),
]
#: A file of an ImageNet ResNet of MIT CSAIL, whose stem has three convs.
CSAIL = [
    *(
        (rf"{kind}{number}\.", f"stem.{3 * (number - 1) + half}.")
        for number in (1, 2, 3)
        for half, kind in enumerate(("conv", "bn"))
    ),
    (r"layer[1-4]\.", r"\g<0>"),
]
LAYER = [
    (r"attention_first\.0\.", "conv1."),
    (r"attention_first\.1\.", "bn1."),
    (r"attention_second\.0\.", "conv2."),
    (r"attention_second\.1\.", "bn2."),
    (r"attention_third\.0\.", "conv3."),
    (r"pos_emb1d_(1st|2nd)\.pos_layer\.weight", "position_table"),
]
LAYER_OF_TWO_CONVS = [(r"attention_second\.0\.", "conv3."), *LAYER]


def convert(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the authors' models -> ours.

    Convert files whole: the authors' loader drops what does not fit in silence, which turned a
    model of 82.05 mIoU into one of 72.09 (sunghac/HANet#2, wrong r). The bias of the auxiliary
    head's conv is folded into its BN.

    **The authors' files are under CC BY-NC 4.0, and converted weights stay non-commercial.**

    Args:
        state_dict (dict[str, Tensor]): ``file['state_dict']``; or the weights of one height
            attention, of an ASPP alone, or of the ImageNet ResNet-101 of MIT CSAIL from which the
            authors start.

    Returns:
        dict[str, Tensor]: Weights of a ``HeightAttentionEncoderDecoder`` as the configs of
        ``configs/hanet`` build it, of a ``HeightAttention``, of an ``ASPP``, or of a backbone.
    """
    converted = rename(state_dict, [*_trunk_rules(state_dict), *HEADS])
    converted = {_aspp_key(key): value for key, value in converted.items()}
    converted = _name_layers(converted)
    converted = {
        re.sub(_CONV_BN_PLACES, lambda m: f"{m[1]}.{CONV_BN[m[2]]}.", key): value
        for key, value in converted.items()
    }
    fold_conv_bias(converted, "auxiliary_head.convs.0.conv", "auxiliary_head.convs.0.bn")
    return converted


#: Where index 0 is the conv and index 1 the norm of a ConvModule.
_CONV_BN_PLACES = re.compile(
    r"^(decode_head\.(?:bottleneck|c1_bottleneck|fuse\.\d)|auxiliary_head\.convs\.0"
    r"|(?:decode_head\.aspp\.)?(?:image_pool\.1|aspp_modules\.\d)"
    r"|backbone\.(?:conv1|conv2|layers\.3|layers\.\d\.\d+\.branch\d\.\d|layer\d\.\d+\.conv\.\d))"
    r"\.([01])\."
)


def _trunk_rules(state_dict: dict[str, Tensor]) -> list[tuple[str, str | None]]:
    if "layer0.1.conv.0.0.weight" in state_dict:
        return _mobilenet_rules(state_dict)
    if "layer1.0.branch1.0.weight" in state_dict:
        return SHUFFLENET
    if "layer0.6.weight" in state_dict:
        return DEEP_STEM_RESNET
    return CSAIL if "conv3.weight" in state_dict else RESNET


def _mobilenet_rules(state_dict: dict[str, Tensor]) -> list[tuple[str, str | None]]:
    rules = [(r"layer0\.0\.", "backbone.conv1."), (r"layer4\.0\.", "backbone.conv2.")]
    for layer, unit in sorted(
        {tuple(m.groups()) for k in state_dict if (m := re.match(r"layer(\d)\.(\d+)\.conv\.", k))}
    ):
        feature = FIRST_FEATURE[layer] + int(unit)
        stage = next(i for i in range(7) if feature < STAGES[i + 1])
        theirs = rf"layer{layer}\.{unit}\.conv\."
        ours = f"backbone.layer{stage + 1}.{feature - STAGES[stage]}.conv."
        last = 1 if feature == 1 else 2  # feature 1 does not expand
        rules += [
            (rf"{theirs}([0-{last - 1}])\.(?=[01]\.)", rf"{ours}\1."),
            (rf"{theirs}{last}\.", f"{ours}{last}.0."),
            (rf"{theirs}{last + 1}\.", f"{ours}{last}.1."),
        ]
    return rules


def _aspp_key(key: str) -> str:
    key = re.sub(r"^(decode_head\.aspp\.)?img_conv\.", r"\1image_pool.1.", key)
    return re.sub(r"^(decode_head\.aspp\.)?features\.", r"\1aspp_modules.", key)


def _name_layers(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """The height attentions, whose numbers count those that there are."""
    numbers = sorted({m[0] for key in state_dict if (m := re.match(r"hanet\d\.", key))})
    prefixes = {theirs: f"height_attention.{i}." for i, theirs in enumerate(numbers)}
    if not numbers and any(key.startswith("attention_first.") for key in state_dict):
        prefixes = {"": ""}
    named = dict(state_dict)
    for theirs, ours in prefixes.items():
        layer = {key[len(theirs) :]: named.pop(key) for key in state_dict if key.startswith(theirs)}
        has_three = any(key.startswith("attention_third.") for key in layer)
        for key, value in rename(layer, LAYER if has_three else LAYER_OF_TWO_CONVS).items():
            named[ours + key] = value
    return named
