"""CPNet: files trained with the authors' ContextPrior, an mmseg 0.x decode head."""

from __future__ import annotations

import re

from torch import Tensor

from .keys import rename

MODULES = (
    # Of the head, and of its aggregation.
    *("aggregation", "prior_conv", "intra_conv", "inter_conv", "bottleneck", "conv_seg"),
    *("reduce_conv", "t1", "t2", "p1", "p2", "norm"),
)
RULES = [
    (r"(backbone|decode_head|auxiliary_head)\.", r"\g<0>"),
    # A module alone.
    (rf"({'|'.join(MODULES)})\.", r"\g<0>"),
]
PRIOR = r"(decode_head\.)?prior_conv\."


def convert(
    state_dict: dict[str, Tensor], prior_size: int | tuple[int, int] | None = None
) -> dict[str, Tensor]:
    """Weights of the authors' CPNet -> ours, whose names are the same.

    Args:
        state_dict (dict[str, Tensor]): The authors' weights.
        prior_size (int | tuple[int, int], optional): ``prior_size`` of the head that is to load
            them. Default: not compared.

    Returns:
        dict[str, Tensor]: Weights of an ``EncoderDecoder`` with ``ResNetV1c``, ``CPHead`` and
        ``FCNHead``, or of a ``CPHead`` or ``AggregationModule``.

    Raises:
        ValueError: If the prior has another number of positions than ``prior_size``.
    """
    converted = rename(state_dict, RULES)
    for key, value in converted.items():
        if prior_size and re.match(PRIOR, key) and value.dim():
            is_side = isinstance(prior_size, int)
            height, width = (prior_size, prior_size) if is_side else prior_size
            if len(value) != height * width:
                raise ValueError(
                    f"{key} is of a prior of {len(value)} positions, but prior_size={prior_size} "
                    f"has {height * width}: the weights fit another crop"
                )
    return converted
