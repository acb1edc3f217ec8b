"""Convolution over a concatenation with a map that is constant along rows, or everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .export import is_exporting


def conv_of_constant_concat_reference(
    constant: Tensor, maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Plain form of :func:`conv_of_constant_concat`: expand, concatenate, convolve."""
    size = maps[0].shape[2:]
    x = torch.cat([constant.expand(-1, -1, *size), *maps], dim=1)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def conv_of_constant_concat(
    constant: Tensor, maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Convolve a concatenation of a constant map and others without building it.

    W concat(c, x_1, x_2, ..) = W_0 c + W_1 x_1 + W_2 x_2 + ... Of a map that is the same at every
    pixel, as DeepLabV3's image-level feature is, W_0 c is a bias of each image; where the kernel
    is wider than a pixel it takes other values only beside the border, and is computed on a map of
    the kernel's size. A map that is constant along rows gives a bias of each row. Neither the
    expanded map nor the concatenation is held; time and memory are listed in docs/benchmarks.md.

    Args:
        constant (Tensor): (N, C_0, 1, 1), or (N, C_0, H, 1) for one value a row.
        maps (Sequence[Tensor]): At least one, (N, C_i, H, W), of one size.
        weight (Tensor): (O, C_0 + sum C_i, K, K), K odd; zero padding keeps the size.
        bias (Tensor, optional): (O,).

    Returns:
        Tensor: (N, O, H, W), equal to the plain form up to rounding.

    Raises:
        ValueError: If shapes are not as described.
    """
    # No len(constant): an export would hold that number of images.
    images, size = constant.shape[0], maps[0].shape[2:] if maps else ()
    if len(size) != 2 or any((x.shape[0], *x.shape[2:]) != (images, *size) for x in maps):
        raise ValueError(
            f"maps must be at least one, (N, C, H, W) of one size, with N = {images} as the "
            f"constant's, got {[tuple(x.shape) for x in maps]}"
        )
    height, width = size
    channels = [constant.shape[1], *(x.shape[1] for x in maps)]
    kernel = weight.shape[-1]
    if weight.shape[1:] != (sum(channels), kernel, kernel) or kernel % 2 == 0:
        raise ValueError(
            f"maps of {channels} channels need a weight of (O, {sum(channels)}, K, K) with K odd, "
            f"got {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be ({len(weight)},), got {tuple(bias.shape)}")
    if constant.shape[2] not in (1, height) or constant.shape[3] != 1:
        raise ValueError(
            f"constant must be (N, C, 1, 1) or (N, C, {height}, 1) beside maps of {height} x "
            f"{width}, got {tuple(constant.shape)}"
        )
    if is_exporting():
        return conv_of_constant_concat_reference(constant, maps, weight, bias)
    of_constant, *of_maps = weight.split(channels, dim=1)
    y = _of_constant(constant, of_constant, height, width)
    for x, w in zip(maps, of_maps, strict=True):
        y = F.conv2d(x, w, bias, padding=kernel // 2).add_(y)
        bias = None
    return y


def _of_constant(constant: Tensor, weight: Tensor, height: int, width: int) -> Tensor:
    """The constant map's part, (N, O, H, W) or one that broadcasts to it."""
    half = weight.shape[-1] // 2
    if half == 0:
        return F.conv2d(constant, weight)
    rows = height if constant.shape[2] > 1 else min(height, 2 * half + 1)
    columns = min(width, 2 * half + 1)
    y = F.conv2d(constant.expand(-1, -1, rows, columns), weight, padding=half)
    # As products with 0 and 1, so that the gradient needs no scattered sums.
    y = _repetition(rows, height, half, y) @ y
    return y @ _repetition(columns, width, half, y).T


def _repetition(short: int, long: int, half: int, like: Tensor) -> Tensor:
    """(long, short) matrix of 0 and 1 that repeats the middle one of ``short`` rows."""
    place = torch.arange(long, device=like.device)
    from_end = place - long + short
    place = torch.where(place < half, place, from_end.clamp(min=half)) if short < long else place
    return F.one_hot(place, short).to(like.dtype)
