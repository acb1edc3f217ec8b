"""Bicubic resizing as MATLAB's ``imresize``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .precision import accumulation_dtype, check_floating_point, no_autocast


def _cubic(distance: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5."""
    d = distance.abs()
    near = (1.5 * d - 2.5) * d**2 + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))


def bicubic_matrix(in_size: int, out_size: int) -> Tensor:
    """Weights of one axis: row i holds the share of every source position in result i.

    Args:
        in_size (int): Length of the input, at least 1.
        out_size (int): Length of the result, at least 1.

    Returns:
        Tensor: (out_size, in_size), float64; every row sums to 1.
    """
    scale = min(out_size / in_size, 1.0)  # the kernel grows where the axis shrinks
    reach = int(2 / scale) + 1
    centre = (torch.arange(out_size, dtype=torch.float64) + 0.5) * (in_size / out_size) - 0.5
    source = centre.floor()[:, None] + torch.arange(-reach, reach + 2)
    weight = _cubic(scale * (source - centre[:, None]))
    weight = weight / weight.sum(dim=1, keepdim=True)
    # Beyond the border the map is mirrored about its edge.
    place = source.long() % (2 * in_size)
    place = torch.minimum(place, 2 * in_size - 1 - place)
    return torch.zeros(out_size, in_size, dtype=torch.float64).scatter_add_(1, place, weight)


def resize_bicubic(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a map as MATLAB's ``imresize(x, size)`` does.

    Cubic kernel with a = -0.5, pixel centres at half-integer positions, the border mirrored, the
    kernel widened where the map shrinks. PyTorch's bicubic resizing has another kernel
    (a = -0.75), or with ``antialias=True`` another border. One matrix product an axis, which makes
    the gradient the true adjoint and deterministic. MATLAB itself was not run to compare.

    Args:
        x (Tensor): (N, C, h, w), floating point.
        size (Sequence[int]): Height and width of the result, at least 1.

    Returns:
        Tensor: (N, C, H, W), in the input's dtype.

    Raises:
        TypeError: If ``x`` is not floating point.
        ValueError: If ``size`` is not a height and a width of at least 1.
    """
    check_floating_point("x", x)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be a height and a width of at least 1, got {tuple(size)}")
    dtype = accumulation_dtype(x)
    rows, columns = (
        bicubic_matrix(x.shape[dim], size[dim - 2]).to(x.device, dtype) for dim in (2, 3)
    )
    with no_autocast(x):
        return (rows @ (x.to(dtype) @ columns.T)).to(x.dtype)
