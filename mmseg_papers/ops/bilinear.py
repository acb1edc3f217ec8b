"""Where bilinear interpolation reads, as PyTorch computes it."""

from __future__ import annotations

import torch
from torch import Tensor


def bilinear_taps(
    in_size: int,
    out_size: int,
    align_corners: bool,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor, Tensor]:
    """The two source positions of every output position along one axis, and their mix.

    ``out[i] = (1 - weight[i]) * x[lower[i]] + weight[i] * x[upper[i]]`` equals
    ``torch.nn.functional.interpolate(x, out_size, mode='bilinear')`` along that axis.

    Args:
        in_size (int): Length of the input, at least 1.
        out_size (int): Length of the output, at least 1.
        align_corners (bool): As for ``interpolate``.
        device (torch.device, optional): Of the results. Default: PyTorch's.
        dtype (torch.dtype): Of the weights; positions are computed in it, as PyTorch does.

    Returns:
        tuple[Tensor, Tensor, Tensor]: ``lower`` and ``upper``, int64, and ``weight`` in [0, 1],
        each (out_size,).
    """
    positions = torch.arange(out_size, device=device, dtype=dtype)
    if align_corners:
        source = positions * ((in_size - 1) / (out_size - 1) if out_size > 1 else 0.0)
    else:
        # One fused multiply-add, as in PyTorch's CPU kernel: the last bits of a position are
        # those of its weight times the position, which is enough to change a label.
        # Scalars are filled in on the device: a copy from the host would wait for it.
        half, scale = (
            torch.full((), value, device=device, dtype=dtype)
            for value in (-0.5, in_size / out_size)
        )
        source = torch.addcmul(half, positions + 0.5, scale).clamp(min=0)
    lower = source.long().clamp(max=in_size - 1)
    upper = (lower + 1).clamp(max=in_size - 1)
    return lower, upper, (source - lower).clamp(0, 1)


def bilinear_matrix(
    in_size: int, out_size: int, align_corners: bool, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """The matrix that interpolates along one axis.

    Args:
        in_size (int): As of :func:`bilinear_taps`, like all others.
        out_size (int): Length of the output.
        align_corners (bool): As for ``interpolate``.
        device (torch.device): Of the result.
        dtype (torch.dtype): Of the result.

    Returns:
        Tensor: (out_size, in_size).
    """
    lower, upper, weight = bilinear_taps(in_size, out_size, align_corners, device, dtype)
    matrix = torch.zeros(out_size, in_size, device=device, dtype=dtype)
    rows = torch.arange(out_size, device=device)
    matrix[rows, lower] = 1 - weight
    matrix[rows, upper] += weight
    return matrix
