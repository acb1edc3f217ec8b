"""SPNet: files of SPNet, and the ImageNet ResNets of PyTorch-Encoding that it starts from."""

from __future__ import annotations

import torch
from torch import Tensor

from .keys import fold_conv_bias, rename

#: Convs of the authors' ``StripPooling``, which is the paper's mixed-pooling module.
MIXED_POOLING = {
    "conv1_1": "reduce_short",
    "conv1_2": "reduce_long",
    "conv2_0": "full_conv",
    "conv2_1": "bin_convs.0",
    "conv2_2": "bin_convs.1",
    "conv2_3": "column_conv",
    "conv2_4": "row_conv",
    "conv2_5": "short_conv",
    "conv2_6": "long_conv",
    "conv3": "project",
}
STRIP_CONVS = (("conv1", "bn1"), ("conv2", "bn2"))


def convert(state_dict: dict[str, Tensor], pools_swapped: bool | None = None) -> dict[str, Tensor]:
    """Weights of the authors' SPNet -> ours.

    Their strip-pooling module changed twice. Until 10 June 2020 its strip convs had biases, which
    are folded into BN. Until 27 May 2020, besides, the two pools were swapped: the (3, 1) conv saw
    a strip of height 1 (and the (1, 3) conv one of width 1), so that only its middle tap worked.
    Such weights convert exactly: the middle taps change places. Files from between the two dates
    look like older ones.

    Args:
        state_dict (dict[str, Tensor]): The authors' weights.
        pools_swapped (bool, optional): Whether the weights were trained before 27 May 2020.
            Default: as the keys say; it must be given where strip convs have biases and the module
            is called ``spm``.

    Returns:
        dict[str, Tensor]: Weights of an ``EncoderDecoder`` with ``PluginResNetV1c``, ``SPHead`` and
        ``FCNHead``; of a backbone, for an ImageNet file; or of a head or module alone.

    Raises:
        ValueError: If ``pools_swapped`` is needed and missing, or contradicts the keys.
    """
    state_dict = _current_strip_pooling(state_dict, pools_swapped)
    rules = [
        (r"pretrained\.conv1\.", "backbone.stem."),
        (r"pretrained\.bn1\.", "backbone.stem.7."),
        (r"pretrained\.(?=layer\d)", "backbone."),
        (r"(pretrained\.)?fc\.", None),
        *_auxiliary_rules(r"auxlayer\.", "auxiliary_head."),
        *_head_rules(r"head\.", "decode_head."),
        # A head, a mixed-pooling module or a backbone alone.
        *_auxiliary_rules("", ""),
        *_head_rules("", ""),
        *_mixed_pooling_rules("", ""),
        (r"layer\d\.", r"\g<0>"),
    ]
    if "conv1.0.weight" in state_dict:
        rules += [(r"conv1\.", "stem."), (r"bn1\.", "stem.7.")]
    else:  # a bottleneck or a strip-pooling module alone
        rules += [(r"(conv|bn)[123]\.|(downsample|spm)\.", r"\g<0>")]
    return rename(state_dict, rules)


def _auxiliary_rules(theirs: str, ours: str) -> list[tuple[str, str]]:
    return [
        (rf"{theirs}conv5\.0\.", f"{ours}convs.0.conv."),
        (rf"{theirs}conv5\.1\.", f"{ours}convs.0.bn."),
        (rf"{theirs}conv5\.4\.", f"{ours}conv_seg."),
    ]


def _head_rules(theirs: str, ours: str) -> list[tuple[str, str]]:
    return [
        (rf"{theirs}trans_layer\.0\.", f"{ours}reduce.conv."),
        (rf"{theirs}trans_layer\.1\.", f"{ours}reduce.bn."),
        *_mixed_pooling_rules(rf"{theirs}strip_pool1\.", f"{ours}mixed_pooling.0."),
        *_mixed_pooling_rules(rf"{theirs}strip_pool2\.", f"{ours}mixed_pooling.1."),
        (rf"{theirs}score_layer\.0\.", f"{ours}bottleneck.conv."),
        (rf"{theirs}score_layer\.1\.", f"{ours}bottleneck.bn."),
        (rf"{theirs}score_layer\.4\.", f"{ours}conv_seg."),
    ]


def _mixed_pooling_rules(theirs: str, ours: str) -> list[tuple[str, str]]:
    # With a digit only, a conv3 of a bottleneck has no part .0.
    return [
        (rf"{theirs}{name}\.{part}\.", f"{ours}{new}.{layer}.")
        for name, new in MIXED_POOLING.items()
        for part, layer in ((0, "conv"), (1, "bn"))
    ]


def _current_strip_pooling(
    state_dict: dict[str, Tensor], pools_swapped: bool | None
) -> dict[str, Tensor]:
    """Bring strip-pooling modules of any date into today's form."""
    has_first_name = any("dual_se." in key for key in state_dict)
    state_dict = {key.replace("dual_se.", "spm."): value for key, value in state_dict.items()}
    modules = [
        key.removesuffix("conv1.weight")
        for key, value in state_dict.items()
        if key.endswith("conv1.weight") and value.dim() == 4 and value.shape[2:] == (3, 1)
    ]
    biased = [module for module in modules if f"{module}conv1.bias" in state_dict]
    if pools_swapped is None:
        if biased and not has_first_name:
            raise ValueError(
                f"{biased[0]}conv1 has a bias: weights from before 10 June 2020, and perhaps from "
                "before 27 May 2020, while the pools were swapped; say so by pools_swapped=True or "
                "False"
            )
        pools_swapped = has_first_name
    elif modules and pools_swapped and not biased:
        raise ValueError(
            "pools_swapped=True, but the strip convs have no biases: not so old a file"
        )
    elif has_first_name and not pools_swapped:
        raise ValueError("pools_swapped=False, but the modules are called dual_se: an older file")
    for module in modules:
        for conv, norm in STRIP_CONVS:
            fold_conv_bias(state_dict, module + conv, module + norm)
        if pools_swapped:
            _swap_pools(state_dict, module)
    return state_dict


def _swap_pools(state_dict: dict[str, Tensor], module: str) -> None:
    tall, wide = state_dict[f"{module}conv1.weight"], state_dict[f"{module}conv2.weight"]
    new_tall, new_wide = torch.zeros_like(tall), torch.zeros_like(wide)
    new_tall[:, :, 1, 0] = wide[:, :, 0, 1]
    new_wide[:, :, 0, 1] = tall[:, :, 1, 0]
    state_dict[f"{module}conv1.weight"], state_dict[f"{module}conv2.weight"] = new_tall, new_wide
    for key in [key for key in state_dict if key.startswith(f"{module}bn1.")]:
        other = f"{module}bn2.{key.removeprefix(f'{module}bn1.')}"
        state_dict[key], state_dict[other] = state_dict[other], state_dict[key]
