"""Two 1x1 convolutions in a row, without bias and activation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .export import is_exporting


def conv1x1_pair_reference(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Plain form of :func:`conv1x1_pair`."""
    return F.conv2d(F.conv2d(x, first), second)


def conv1x1_pair(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Convolve twice in one pass: ``second (first x) = (second first) x``.

    The product of the kernels costs as much as the second convolution of ``C`` positions, so it is
    formed where the map has more positions than that, anew in each call: the parameters and their
    gradients stay those of two convolutions, and the map between them is neither computed nor kept.

    Args:
        x (Tensor): (N, C, H, W).
        first (Tensor): (M, C, 1, 1).
        second (Tensor): (O, M, 1, 1).

    Returns:
        Tensor: (N, O, H, W), equal to the plain form up to rounding.

    Raises:
        ValueError: If a kernel is not 1x1, or the channels do not fit each other.
    """
    kernels = tuple(first.shape), tuple(second.shape)
    if first.shape[1:] != (x.shape[1], 1, 1) or second.shape[1:] != (first.shape[0], 1, 1):
        raise ValueError(
            f"a map of {x.shape[1]} channels needs kernels (M, {x.shape[1]}, 1, 1) and "
            f"(O, M, 1, 1), got {kernels[0]} and {kernels[1]}"
        )
    positions = x.shape[0] * x.shape[2] * x.shape[3]
    if is_exporting() or positions <= x.shape[1]:
        return conv1x1_pair_reference(x, first, second)
    return F.conv2d(x, (second.flatten(1) @ first.flatten(1))[..., None, None])
