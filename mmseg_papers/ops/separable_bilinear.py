"""Bilinear resizing of small maps as two matrix products, for the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .bilinear import bilinear_matrix
from .precision import no_autocast
from .tensor_cache import cache_tensors

#: Maps of up to so many rows and columns are resized by matrix products. The products cost
#: h + h * w / H multiply-adds per value of the result, PyTorch's interpolation four.
MAX_SIDE = 32


def is_separable_cheaper(size: Sequence[int], out_size: Sequence[int]) -> bool:
    """Whether a map is small enough, and enlarged, for :func:`add_resized` to pay.

    Args:
        size (Sequence[int]): Height and width of the map.
        out_size (Sequence[int]): Height and width that it is resized to.
    """
    return max(size) <= MAX_SIDE and size[0] <= out_size[0] and size[1] <= out_size[1]


def add_resized(xs: Sequence[Tensor], align_corners: bool, total: Tensor) -> None:
    """Add bilinearly resized maps to ``total``, in place.

    Interpolation is linear and acts on rows and columns apart: up(X) = U_h X U_w^T. The products
    with the second matrices of all maps, over every row of the result, are one:
    [U_h1 X_1 | U_h2 X_2 | ..] [U_w1 | U_w2 | ..]^T.

    Args:
        xs (Sequence[Tensor]): (N, C, h_i, w_i), float32 or float64.
        align_corners (bool): As for ``torch.nn.functional.interpolate``.
        total (Tensor): (N, C, H, W), NCHW in memory; in channels_last PyTorch's own is as fast.
    """
    height, width = total.shape[2:]
    options = align_corners, total.device, total.dtype
    matrix = torch.cat([_matrix(total, x.shape[3], width, *options) for x in xs], dim=1)
    with no_autocast(total):
        tall = torch.cat([_matrix(total, x.shape[2], height, *options) @ x for x in xs], dim=3)
        total.view(-1, width).addmm_(tall.view(-1, matrix.shape[1]), matrix.t())


def resize_backward(
    grad: Tensor, in_sizes: Sequence[Sequence[int]], align_corners: bool
) -> list[Tensor]:
    """Gradients of maps that were resized and added up: U_h^T G U_w.

    Args:
        grad (Tensor): Of their sum, (N, C, H, W), NCHW in memory, float32 or float64. In
            channels_last, PyTorch's own is faster.
        in_sizes (Sequence[Sequence[int]]): Height h_i and width w_i of each map.
        align_corners (bool): As in the forward pass.

    Returns:
        list[Tensor]: (N, C, h_i, w_i).
    """
    height, width = grad.shape[2:]
    options = align_corners, grad.device, grad.dtype
    matrix = torch.cat([_matrix(grad, w, width, *options) for _, w in in_sizes], dim=1)
    with no_autocast(grad):
        narrow = (grad.view(-1, width) @ matrix).view(*grad.shape[:3], matrix.shape[1])
        parts = narrow.split([w for _, w in in_sizes], dim=3)
        return [
            _matrix(grad, h, height, *options).t() @ part
            for (h, _), part in zip(in_sizes, parts, strict=True)
        ]


_matrix = cache_tensors(bilinear_matrix)  # a model's sizes recur
