"""HRNet: files of HRNet-Semantic-Segmentation and HRNet-Object-Detection."""

from __future__ import annotations

import re

from torch import Tensor

from .keys import fold_conv_bias, rename

RULES = [
    # What FullModel and the ImageNet classifier add.
    (r"loss\.", None),
    (r"(incre_modules|downsamp_modules|final_layer|classifier)\.", None),
    (r"last_layer\.0\.", "decode_head.convs.0.conv."),
    (r"last_layer\.1\.", "decode_head.convs.0.bn."),
    (r"last_layer\.3\.", "decode_head.conv_seg."),
    (r"((conv|bn)[12]|layer1|transition[123]|stage[234])\.", r"backbone.\g<0>"),
    # A module alone.
    (r"(branches|fuse_layers)\.", r"\g<0>"),
]
WRAPPER = r"^(module\.)?(model\.)?"
INPLACE_ABN_EPS = 1e-5


def convert(state_dict: dict[str, Tensor], inplace_abn: bool = False) -> dict[str, Tensor]:
    """Weights of the authors' HRNetV2 -> ours.

    The bias of the head's mixing conv is folded into its BN.

    Args:
        state_dict (dict[str, Tensor]): The authors' weights, with or without ``model.`` and
            ``module.`` before every key.
        inplace_abn (bool): True for files trained with PyTorch 0.4 (``*_torch04.pth``), whose
            InPlaceABN scales by ``|weight| + 1e-5`` instead of ``weight``. Default: False.

    Returns:
        dict[str, Tensor]: Weights of an ``EncoderDecoder`` with ``HighResolutionNet`` and
        ``HRNetV2Head``, or of a ``MultiResolutionModule``.
    """
    state_dict = {re.sub(WRAPPER, "", key): value for key, value in state_dict.items()}
    if inplace_abn:
        for key in state_dict:
            norm, _, name = key.rpartition(".")
            if name == "weight" and f"{norm}.running_mean" in state_dict:
                state_dict[key] = state_dict[key].abs() + INPLACE_ABN_EPS
    converted = rename(state_dict, RULES)
    fold_conv_bias(converted, "decode_head.convs.0.conv", "decode_head.convs.0.bn")
    return converted
