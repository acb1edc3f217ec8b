"""Multiplication of a map with one factor for each channel and row."""

from __future__ import annotations

import torch
from torch import Tensor

from .export import is_exporting
from .layout import is_channels_last, layout
from .once_differentiable import once_differentiable
from .pool_rows import pool_width
from .precision import accumulation_dtype, no_autocast
from .triton_device import check_one_device, runs_triton

#: Elements of a product that exist at a time in the backward pass of a channels_last map.
BLOCK_ELEMENTS = 1 << 18


def gate_rows_reference(
    x: Tensor, gate: Tensor, with_mean: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Plain form of :func:`gate_rows`: multiply, then take the mean of the rows."""
    y = x * gate[..., None]
    return (y, y.mean(3)) if with_mean else y


def gate_rows(x: Tensor, gate: Tensor, with_mean: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """Scale every row of every channel, and give the rows' means on the way.

    A factor is constant along its row, so the mean of the gated row is the factor times the mean
    of the row. The backward pass is written by hand: the factor's gradient is a row-wise dot
    product, without the product of map and gradient that autograd holds, and the gradient of the
    means joins that of the map without a map of its own. On CUDA one kernel reads the map once and
    another map and gradient once. Deterministic. Times are listed in docs/benchmarks.md.

    Args:
        x (Tensor): (N, C, H, W), or (N, C, 1, 1) for a map that is constant.
        gate (Tensor): (N, C, H), of the dtype and device of ``x``.
        with_mean (bool): Whether to return the rows' means, too. Default: False.

    Returns:
        Tensor | tuple[Tensor, Tensor]: (N, C, H, W) in the layout of ``x``, (N, C, H, 1) for a
        constant map; with ``with_mean`` also its means (N, C, H).

    Raises:
        TypeError: If ``x`` is not floating point or ``gate`` of another dtype.
        ValueError: If the shapes are not as described, or the devices differ.
    """
    if x.dim() != 4 or gate.dim() != 3 or x.shape[:2] != gate.shape[:2]:
        raise ValueError(
            f"x must be (N, C, H, W) and gate (N, C, H), got {tuple(x.shape)} and "
            f"{tuple(gate.shape)}"
        )
    is_constant = tuple(x.shape[2:]) == (1, 1)
    if not is_constant and x.shape[2] != gate.shape[2]:
        raise ValueError(f"x has {x.shape[2]} rows and gate {gate.shape[2]}")
    if not x.is_floating_point() or x.dtype != gate.dtype:
        raise TypeError(f"x and gate must be of one floating dtype, got {x.dtype}, {gate.dtype}")
    check_one_device(x=x, gate=gate)
    if is_constant or is_exporting():
        return gate_rows_reference(x, gate, with_mean)
    y, mean_x = _GateRows.apply(x, gate, with_mean)
    return (y, gate * mean_x) if with_mean else y


def _empty_map(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=layout(x))


def _empty_mean(x: Tensor, with_mean: bool) -> Tensor:
    return x.new_empty(x.shape[:3] if with_mean else (0,))


def _empty_gate(gate: Tensor) -> Tensor:
    return torch.empty_like(gate, memory_format=torch.contiguous_format)


def _in_layout(rows: Tensor, x: Tensor) -> Tensor:
    """(N, C, H) as (N, C, H, 1), with the channels together where those of ``x`` are."""
    if is_channels_last(x):
        return rows.transpose(1, 2).contiguous().transpose(1, 2)[..., None]
    return rows[..., None]


def _forward(x: Tensor, gate: Tensor, with_mean: bool) -> tuple[Tensor, Tensor]:
    """Gated map, and the means of the rows before the gate."""
    y = _empty_map(x)
    if runs_triton(x):
        from .gate_rows_triton import gate_rows_triton

        mean = _empty_mean(x, with_mean)
        gate_rows_triton(x, gate, y, mean)
        return y, mean
    torch.mul(x, _in_layout(gate, x), out=y)
    mean = pool_width(x).contiguous() if with_mean else _empty_mean(x, False)
    return y, mean


def _backward(x: Tensor, gate: Tensor, dy: Tensor, dmean: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of map and gate, the latter without the share of the means.

    ``dmean`` (N, C, H) is the gradient of the means before the gate, or empty.
    """
    dx = _empty_map(x)
    if runs_triton(x):
        from .gate_rows_triton import gate_rows_backward_triton

        dgate = _empty_gate(gate)
        gate_rows_backward_triton(x, gate, dy, dmean, dx, dgate)
        return dx, dgate
    factor = _in_layout(gate, x)
    if dmean.numel():
        torch.addcmul(_in_layout(dmean / x.shape[3], x), dy, factor, out=dx)
    else:
        torch.mul(dy, factor, out=dx)
    with no_autocast(x):
        return dx, _row_dot(x, dy).contiguous()


def _row_dot(x: Tensor, dy: Tensor) -> Tensor:
    """Sum of x * dy over the width, (N, C, H)."""
    if not is_channels_last(x):
        return torch.einsum("nchw,nchw->nch", x, dy)
    images, channels, height, width = x.shape
    dtype = accumulation_dtype(x)
    dots = torch.empty(images, height, channels, dtype=dtype, device=x.device)
    ones = torch.ones(1, 1, width, dtype=dtype, device=x.device)
    step = max(BLOCK_ELEMENTS // (width * channels), 1)
    for n in range(images):
        for start in range(0, height, step):
            rows = (n, slice(None), slice(start, start + step))
            product = (x[rows].to(dtype) * dy[rows]).permute(1, 2, 0)
            dots[n, start : start + step] = (ones.expand(len(product), -1, -1) @ product)[:, 0]
    return dots.transpose(1, 2).to(x.dtype)


class _GateRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gate, with_mean):
        ctx.with_mean = with_mean
        ctx.save_for_backward(x, gate)
        return _gate_rows(x, gate, with_mean)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, dmean):
        x, gate = ctx.saved_tensors
        dmean = dmean if ctx.with_mean else x.new_empty(0)
        return *_gate_rows_backward(x, gate, dy, dmean), None


if hasattr(torch.library, "custom_op"):  # torch >= 2.4: torch.compile does not look inside
    _gate_rows = torch.library.custom_op(
        "mmseg_papers::gate_rows",
        _forward,
        mutates_args=(),
        schema="(Tensor x, Tensor gate, bool with_mean) -> (Tensor, Tensor)",
    )
    _gate_rows_backward = torch.library.custom_op(
        "mmseg_papers::gate_rows_backward",
        _backward,
        mutates_args=(),
        schema="(Tensor x, Tensor gate, Tensor dy, Tensor dmean) -> (Tensor, Tensor)",
    )

    @_gate_rows.register_fake
    def _(x, gate, with_mean):
        return _empty_map(x), _empty_mean(x, with_mean)

    @_gate_rows_backward.register_fake
    def _(x, gate, dy, dmean):
        return _empty_map(x), _empty_gate(gate)

else:
    _gate_rows, _gate_rows_backward = _forward, _backward
