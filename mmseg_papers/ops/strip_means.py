"""Means along every row and every column of a map: strip pooling."""

from __future__ import annotations

import torch
from torch import Tensor

from .export import is_exporting
from .layout import is_channels_last, layout
from .precision import accumulation_dtype, check_floating_point
from .triton_device import runs_triton


def strip_means_reference(x: Tensor) -> tuple[Tensor, Tensor]:
    """Plain form of :func:`strip_means`."""
    return x.mean(3, keepdim=True), x.mean(2, keepdim=True)


def strip_means(x: Tensor) -> tuple[Tensor, Tensor]:
    """Pool a map with windows that are one pixel thin and span it (arXiv:2003.13328, equation 1-2).

    Equal to adaptive average pooling to (H, 1) and (1, W), whose CUDA backward is not
    deterministic; this one is, and writes the gradient once: g_row / W + g_column / H. On CUDA one
    kernel makes both strips from one read. Times are listed in docs/benchmarks.md.

    Args:
        x (Tensor): (N, C, H, W), floating point, H and W at least 1. Sums are in float32 (float64
            for float64).

    Returns:
        tuple[Tensor, Tensor]: The means of the rows, (N, C, H, 1), and of the columns,
        (N, C, 1, W), in the map's dtype and layout.

    Raises:
        TypeError: If ``x`` is not floating point.
        ValueError: If ``x`` is no such map.
    """
    if x.dim() != 4 or 0 in x.shape[2:]:
        raise ValueError(f"x must be (N, C, H, W) with H and W at least 1, got {tuple(x.shape)}")
    check_floating_point("x", x)
    if is_exporting():
        return strip_means_reference(x)
    return _StripMeans.apply(x if is_channels_last(x) else x.contiguous())


def row_and_column_sums(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Sums of rows and columns, added up in ``dtype``.

    Args:
        x (Tensor): (N, C, H, W).
        dtype (torch.dtype): Of the sums.

    Returns:
        tuple[Tensor, Tensor]: (N, C, H, 1) and (N, C, 1, W) in the map's layout.
    """
    if runs_triton(x):
        from .strip_means_triton import row_and_column_sums_triton

        return row_and_column_sums_triton(x, dtype)
    if is_channels_last(x):  # summed as NCHW, PyTorch is tens of times slower on the CPU
        x = x.permute(0, 2, 3, 1)
        row, column = (x.sum(dim, keepdim=True, dtype=dtype) for dim in (2, 1))
        return row.permute(0, 3, 1, 2), column.permute(0, 3, 1, 2)
    return x.sum(3, keepdim=True, dtype=dtype), x.sum(2, keepdim=True, dtype=dtype)


def _forward(x: Tensor) -> tuple[Tensor, Tensor]:
    row, column = row_and_column_sums(x, accumulation_dtype(x))
    height, width = x.shape[2:]
    return row.div_(width).to(x.dtype), column.div_(height).to(x.dtype)


class _StripMeans(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.layout = layout(x)
        return _strip_means(x)

    @staticmethod
    def backward(ctx, grad_row, grad_column):
        grad = grad_row / grad_column.shape[3] + grad_column / grad_row.shape[2]
        return grad.contiguous(memory_format=ctx.layout)


if hasattr(torch.library, "custom_op"):  # torch >= 2.4: torch.compile does not look inside
    _strip_means = torch.library.custom_op(
        "mmseg_papers::strip_means",
        _forward,
        mutates_args=(),
        schema="(Tensor x) -> (Tensor, Tensor)",
    )

    @_strip_means.register_fake
    def _(x):
        n, c, height, width = x.shape
        return tuple(
            torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout(x))
            for size in ((n, c, height, 1), (n, c, 1, width))
        )

else:
    _strip_means = _forward
