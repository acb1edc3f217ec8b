"""Reading several maps of a backbone as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from ...ops import conv1x1_of_upsampled_concat, conv3x3_of_upsampled_concat
from ...ops.plain_layers import is_hooked, is_plain_conv
from .conv_module import norm_and_activate


def select_map(
    inputs: Sequence[Tensor], index: int, channels: int, owner: nn.Module, prefix: str = ""
) -> Tensor:
    """The one map of a backbone that a head reads, or one of them that has its own options.

    Args:
        inputs (Sequence[Tensor]): Those that the head gets, (N, C_r, H_r, W_r).
        index (int): Which of them.
        channels (int): Its channels.
        owner (nn.Module): The head, for errors.
        prefix (str): What the names of its options begin with, such as ``'c1_'``; for errors.
            Default: none, for ``in_index`` and ``in_channels``.

    Returns:
        Tensor: (N, channels, H, W).

    Raises:
        ValueError: If it is missing or has other channels.
    """
    name = type(owner).__name__
    if not -len(inputs) <= index < len(inputs):
        raise ValueError(
            f"{name}.{prefix or 'in_'}index={index}, but the head gets {len(inputs)} maps"
        )
    x = inputs[index]
    if x.shape[1] != channels:
        raise ValueError(
            f"{name}.{prefix}in_channels={channels}, but the backbone's map {index} has "
            f"{x.shape[1]} channels; set {prefix}in_channels to this"
        )
    return x


def select_streams(
    inputs: Sequence[Tensor], in_index: Sequence[int], channels: Sequence[int], owner: nn.Module
) -> list[Tensor]:
    """The maps of a backbone that a head or neck reads.

    Args:
        inputs (Sequence[Tensor]): The backbone's maps, (N, C_r, H_r, W_r).
        in_index (Sequence[int]): Which of them.
        channels (Sequence[int]): Their channels.
        owner (nn.Module): The reader, for errors.

    Returns:
        list[Tensor]: The maps in the order of ``in_index``.

    Raises:
        ValueError: If a map is missing or has other channels.
    """
    name = type(owner).__name__
    if not all(-len(inputs) <= i < len(inputs) for i in in_index):
        raise ValueError(
            f"{name}.in_index={tuple(in_index)}, but the backbone has {len(inputs)} maps"
        )
    streams = [inputs[i] for i in in_index]
    got = tuple(x.shape[1] for x in streams)
    if got != tuple(channels):
        raise ValueError(
            f"{name}.in_channels={tuple(channels)}, but the backbone's maps {tuple(in_index)} "
            f"have {got} channels; set in_channels to these"
        )
    return streams


def convolve_concat(module: ConvModule, streams: Sequence[Tensor], align_corners: bool) -> Tensor:
    """A 1x1 or 3x3 ``ConvModule`` over the concatenation of maps resized to the first one.

    Args:
        module (ConvModule): Convolution, norm and activation.
        streams (Sequence[Tensor]): (N, C_r, H_r, W_r); together the module's input channels.
        align_corners (bool): Of the resize.

    Returns:
        Tensor: (N, O, H_0, W_0).
    """
    conv = module.conv
    if is_hooked(module) or not is_plain_conv(conv):
        size = streams[0].shape[2:]
        maps = [F.interpolate(x, size, None, "bilinear", align_corners) for x in streams[1:]]
        return module(torch.cat([streams[0], *maps], dim=1))
    if conv.kernel_size == (1, 1):
        y = conv1x1_of_upsampled_concat(streams, conv.weight, conv.bias, align_corners)
    else:
        y = conv3x3_of_upsampled_concat(
            streams, conv.weight, conv.bias, align_corners, conv.dilation[0]
        )
    return norm_and_activate(module, y)
