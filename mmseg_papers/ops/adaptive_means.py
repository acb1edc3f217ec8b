"""Adaptive average pooling in a form that a graph can hold for every size of map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .export import is_exporting, references_asked
from .pool_rows import adaptive_bins
from .precision import accumulation_dtype, no_autocast


def adaptive_means(x: Tensor, size: int | Sequence[int]) -> Tensor:
    """``adaptive_avg_pool2d``; while exporting as two products with matrices made of the size.

    ONNX's pooling has one kernel size, which adaptive pooling to more than one bin does not. So on
    CUDA in PyTorch's deterministic mode, too, which refuses adaptive pooling's backward pass.

    Args:
        x (Tensor): (N, C, H, W).
        size (int | Sequence[int]): Bins along the height and along the width.

    Returns:
        Tensor: (N, C, rows, columns).
    """
    by_products = is_exporting() or (x.is_cuda and torch.are_deterministic_algorithms_enabled())
    if references_asked() or not by_products:
        return F.adaptive_avg_pool2d(x, size)
    rows, columns = (size, size) if isinstance(size, int) else size
    wide = accumulation_dtype(x)  # the sums of many places are beyond half precision
    y = x.to(wide)
    for bins in (rows, columns):  # twice: pool the height and turn the map by its diagonal
        members, sizes = adaptive_bins(y.shape[2], bins, y.device)
        with no_autocast(y):
            y = y.transpose(2, 3) @ members.to(wide) / sizes.to(wide)
    return y.to(x.dtype)


class AdaptiveMeans(nn.AdaptiveAvgPool2d):
    """``nn.AdaptiveAvgPool2d`` by :func:`adaptive_means`."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool (N, C, H, W) to the output size."""
        return adaptive_means(x, self.output_size)
