"""CPNet: files trained with the authors' ContextPrior, an mmseg 0.x decode head."""

from __future__ import annotations

import re

import torch
from torch import Tensor
from torch.nn import functional as F

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
    state_dict: dict[str, Tensor],
    prior_size: int | tuple[int, int] | None = None,
    resize_from: int | tuple[int, int] | None = None,
) -> dict[str, Tensor]:
    """Weights of the authors' CPNet -> ours, whose names are the same.

    Args:
        state_dict (dict[str, Tensor]): The authors' weights, or ours.
        prior_size (int | tuple[int, int], optional): ``prior_size`` of the head that is to load
            them. Default: not compared.
        resize_from (int | tuple[int, int], optional): The weights' own ``prior_size``, to start
            training with another: the prior's channels are resized bilinearly to ``prior_size``,
            an approximation of ours, for ``groups=1``. Default: they stay.

    Returns:
        dict[str, Tensor]: Weights of an ``EncoderDecoder`` with ``ResNetV1c``, ``CPHead`` and
        ``FCNHead``, or of a ``CPHead`` or ``AggregationModule``.

    Raises:
        ValueError: If the prior has another number of positions than ``prior_size``, or than
            ``resize_from`` where that is given, which needs ``prior_size``, too; if a size is not
            one or two positive ints, or a prior of several groups is to be resized.
    """
    for option, size in (("prior_size", prior_size), ("resize_from", resize_from)):
        if size and (len(_sides(size)) != 2 or min(_sides(size)) < 1):
            raise ValueError(f"{option} must be one or two positive ints, got {size}")
    if resize_from and not prior_size:
        raise ValueError(f"resize_from={resize_from} needs prior_size, the size to resize to")
    converted = rename(state_dict, RULES)
    own = resize_from or prior_size
    for key, value in converted.items():
        if not own or not re.match(PRIOR, key) or not value.dim():
            continue
        height, width = _sides(own)
        if len(value) != height * width:
            option = "resize_from" if resize_from else "prior_size"
            raise ValueError(
                f"{key} is of a prior of {len(value)} positions, but {option}={own} has "
                f"{height * width}: the weights fit another crop"
            )
        if resize_from:
            features = converted.get(re.sub(r"prior_conv\..*", "aggregation.norm.weight", key))
            if value.dim() == 4 and features is not None and len(features) != value.shape[1]:
                raise ValueError(
                    f"{key} is of a prior of several groups, which read {value.shape[1]} channels "
                    f"each of {len(features)}; only a prior of one group can be resized"
                )
            grid = value.reshape(height, width, -1).permute(2, 0, 1)[None]
            grid = grid if grid.dtype == torch.float64 else grid.float()
            grid = F.interpolate(grid, _sides(prior_size), mode="bilinear")[0]
            resized = grid.permute(1, 2, 0).reshape(-1, *value.shape[1:])
            converted[key] = resized.contiguous().to(value.dtype)
    return converted


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)
