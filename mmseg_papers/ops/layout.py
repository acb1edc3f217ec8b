"""Memory layouts of maps."""

from __future__ import annotations

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie together in memory, and the pixels of a row do not.

    Args:
        x (Tensor): (N, C, H, W).
    """
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def layout(x: Tensor) -> torch.memory_format:
    """The memory format of a map: channels_last, or contiguous for any other.

    Args:
        x (Tensor): (N, C, H, W).
    """
    return torch.channels_last if is_channels_last(x) else torch.contiguous_format
