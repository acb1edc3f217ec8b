"""What heads have in common that read one map."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch
import torch.nn.functional as F
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor

from ..layers import select_map, select_streams


def stream_channels(
    in_channels: int | Sequence[int],
    in_index: int | Sequence[int] = -1,
    input_transform: str | None = None,
    **_,
) -> tuple[int, ...]:
    """Channels of each map that a head joins to one, by its options.

    Args:
        in_channels (int | Sequence[int]): Of the map, or of each.
        in_index (int | Sequence[int]): Which map it is, or which they are. Default: -1.
        input_transform (str, optional): None, or for several ``'resize_concat'``.
        **_: Other options of the head.

    Returns:
        tuple[int, ...]: One number a map.

    Raises:
        ValueError: If the options do not fit each other.
    """
    if input_transform not in (None, "resize_concat"):
        raise ValueError(
            "input_transform must be None or 'resize_concat' in a head that reads one map, got "
            f"{input_transform!r}"
        )
    joins, several = input_transform is not None, "with input_transform='resize_concat'"
    channels = tuple(in_channels) if joins and _is_sequence(in_channels) else (in_channels,)
    if not channels or not all(isinstance(n, Integral) and n >= 1 for n in channels):
        raise ValueError(
            f"in_channels must be a positive int, or {several} one for each map, got "
            f"{in_channels!r} with input_transform={input_transform!r}"
        )
    if joins != _is_sequence(in_index) or (joins and len(in_index) != len(channels)):
        raise ValueError(
            f"in_index must be an int, or {several} one for each of in_channels={in_channels!r}, "
            f"got {in_index!r} with input_transform={input_transform!r}"
        )
    return channels


def _is_sequence(value: object) -> bool:
    return isinstance(value, (list, tuple))


class OneMapHead(BaseDecodeHead):
    """Base of heads that read one map of the backbone, or several joined to one.

    With ``input_transform='resize_concat'`` these are resized to the first and concatenated, as in
    ``mmseg``; every size can be compiled and exported.

    Args:
        in_channels (int | Sequence[int]): Channels of the map, or of each.
        channels (int): As ``mmseg``'s ``BaseDecodeHead``.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``: ``num_classes``, ``in_index``,
            ``input_transform`` and so on.

    Raises:
        ValueError: If ``in_channels``, ``in_index`` and ``input_transform`` do not fit each other.
    """

    def __init__(self, in_channels: int | Sequence[int], channels: int, **kwargs) -> None:
        streams = stream_channels(in_channels, **kwargs)
        joins = kwargs.get("input_transform") is not None
        super().__init__(streams if joins else int(in_channels), channels, **kwargs)
        self.stream_channels = streams

    def _transform_inputs(self, inputs: Sequence[Tensor]) -> Tensor:
        """The map, (N, C, H, W); a ``ValueError`` if one is missing or has other channels."""
        if self.input_transform is None:
            return select_map(inputs, self.in_index, self.in_channels, self)
        first, *others = select_streams(inputs, self.in_index, self.stream_channels, self)
        resized = [
            F.interpolate(x, first.shape[2:], mode="bilinear", align_corners=self.align_corners)
            for x in others
        ]
        return torch.cat([first, *resized], dim=1)
