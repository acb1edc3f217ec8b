"""What a strip-pooling module does with its two strips: add them up, and gate the map by them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .export import is_exporting
from .layout import is_channels_last, layout
from .once_differentiable import once_differentiable
from .precision import accumulation_dtype, check_floating_point, no_autocast
from .strip_means import row_and_column_sums
from .triton_device import check_one_device, runs_triton


def strip_sum_reference(row: Tensor, column: Tensor) -> Tensor:
    """Plain form of :func:`strip_sum`."""
    return F.relu(row + column)


def strip_sum(row: Tensor, column: Tensor) -> Tensor:
    """ReLU of the sum of two strips, each repeated over the map (arXiv:2003.13328, equation 3).

    Interpolating a strip to the map's size copies it, so the strips are broadcast where they are
    added. Times are listed in docs/benchmarks.md.

    Args:
        row (Tensor): (N, C, H, 1), whose memory layout the result has.
        column (Tensor): (N, C, 1, W).

    Returns:
        Tensor: (N, C, H, W).

    Raises:
        ValueError: If the strips are of other shapes.
    """
    _check_strips(row, column)
    if is_exporting():
        return strip_sum_reference(row, column)
    if not is_channels_last(row):
        return (row + column).relu_()
    # Autograd sums over the dimensions that were broadcast; if they are the last two of a
    # channels_last map, that is tens of times slower on the CPU.
    total = row.permute(0, 2, 3, 1) + column.permute(0, 2, 3, 1)
    return total.relu_().permute(0, 3, 1, 2)


def strip_gate_reference(
    x: Tensor, row: Tensor, column: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """Plain form of :func:`strip_gate`."""
    return x * F.conv2d(strip_sum_reference(row, column), weight, bias).sigmoid()


def strip_gate(x: Tensor, row: Tensor, column: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Gate a map by its strips (arXiv:2003.13328, equations 3 and 4).

    y = x * sigmoid(W relu(row + column) + bias). The backward pass keeps ``x``, the strips and the
    gate, and adds the strips up once more; plain autograd keeps their sum over the map, too. On
    CUDA the sum is formed inside the matrix product, whose end applies the gate: three passes over
    the map in place of twelve. Time and memory are listed in docs/benchmarks.md.

    Args:
        x (Tensor): (N, C, H, W), floating point. The result and all steps have its dtype.
        row (Tensor): (N, K, H, 1).
        column (Tensor): (N, K, 1, W).
        weight (Tensor): (C, K, 1, 1), of a 1x1 convolution.
        bias (Tensor): (C,).

    Returns:
        Tensor: (N, C, H, W), in the map's layout.

    Raises:
        TypeError: If ``x`` is not floating point.
        ValueError: If a shape is not as described, or the devices differ.
    """
    _check_strips(row, column)
    n, k, height, width = *row.shape[:3], column.shape[3]
    if x.dim() != 4 or (x.shape[0], *x.shape[2:]) != (n, height, width):
        raise ValueError(
            f"strips of shapes {tuple(row.shape)} and {tuple(column.shape)} need a map of "
            f"({n}, C, {height}, {width}), got {tuple(x.shape)}"
        )
    c = x.shape[1]
    if weight.shape != (c, k, 1, 1) or bias.shape != (c,):
        raise ValueError(
            f"a map of {c} and strips of {k} channels need a weight of ({c}, {k}, 1, 1) and a bias "
            f"of ({c},), got {tuple(weight.shape)} and {tuple(bias.shape)}"
        )
    check_floating_point("x", x)
    check_one_device(x=x, row=row, column=column, weight=weight, bias=bias)
    if is_exporting():
        return strip_gate_reference(x, row, column, weight, bias)
    x = x if is_channels_last(x) else x.contiguous()
    inputs = x, *(t.to(x.dtype) for t in (row, column, weight, bias))
    keeps_gate = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    return _StripGate.apply(*inputs, keeps_gate)[0]


def _check_strips(row: Tensor, column: Tensor) -> None:
    if (
        row.dim() != 4
        or column.dim() != 4
        or row.shape[3] != 1
        or column.shape[2] != 1
        or row.shape[:2] != column.shape[:2]
        or 0 in (row.shape[2], column.shape[3])
    ):
        raise ValueError(
            "row and column must be strips (N, C, H, 1) and (N, C, 1, W), H and W at least 1, got "
            f"{tuple(row.shape)} and {tuple(column.shape)}"
        )


def _strip_sum_like(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """ReLU of the strips' sum, (N, K, H, W), in the layout of ``x``."""
    size = (*row.shape[:2], *x.shape[2:])
    total = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout(x))
    return torch.add(row, column, out=total).relu_()


def _uses_triton(x: Tensor) -> bool:
    return runs_triton(x) and x.dtype != torch.float64


def _forward(
    x: Tensor, row: Tensor, column: Tensor, weight: Tensor, bias: Tensor, keeps_gate: bool
) -> tuple[Tensor, Tensor]:
    """The gated map, and the gate (empty unless kept)."""
    if _uses_triton(x):
        from .strip_gate_triton import strip_gate_triton

        return strip_gate_triton(x, row, column, weight, bias, keeps_gate)
    with no_autocast(x):
        gate = F.conv2d(_strip_sum_like(x, row, column), weight, bias).sigmoid_()
    gate = gate.contiguous(memory_format=layout(x))  # it may have the weight's
    if keeps_gate:
        return x * gate, gate
    return gate.mul_(x), x.new_empty(0)


def _gradients(
    grad: Tensor, x: Tensor, row: Tensor, column: Tensor, weight: Tensor, gate: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of x, row, column, weight and bias."""
    if _uses_triton(x):
        from .strip_gate_triton import gate_backward_triton

        grad_x, grad_logits = gate_backward_triton(grad, x, gate)
        return grad_x, *_gradients_below(grad_logits, row, column, weight)
    grad_logits = grad * x
    torch.ops.aten.sigmoid_backward(grad_logits, gate, grad_input=grad_logits)
    others = _gradients_below(grad_logits, row, column, weight)
    return (grad * gate).contiguous(memory_format=layout(x)), *others  # last: one more map to hold


def _gradients_below(
    grad_logits: Tensor, row: Tensor, column: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of row, column, weight and bias."""
    total = _strip_sum_like(grad_logits, row, column)
    grad_total, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
        *(grad_logits, total, weight, [weight.shape[0]], [1, 1], [0, 0], [1, 1]),
        *(False, [0, 0], 1, [True, True, True]),
    )
    torch.ops.aten.threshold_backward(grad_total, total, 0, grad_input=grad_total)
    sums = row_and_column_sums(grad_total, accumulation_dtype(row))
    strips = zip(sums, (row, column), strict=True)
    grads = (s.to(like.dtype).contiguous(memory_format=layout(like)) for s, like in strips)
    return *grads, grad_weight, grad_bias


class _StripGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, row, column, weight, bias, keeps_gate):
        out, gate = _strip_gate(x, row, column, weight, bias, keeps_gate)
        ctx.save_for_backward(x, row, column, weight, gate)
        ctx.set_materialize_grads(False)  # zeros for the map that is not differentiable
        ctx.mark_non_differentiable(gate)
        return out, gate

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        if grad is None:
            return (None,) * 6
        return *_strip_gate_backward(grad, *ctx.saved_tensors), None


if hasattr(torch.library, "custom_op"):  # torch >= 2.4: torch.compile does not look inside
    _strip_gate = torch.library.custom_op(
        "mmseg_papers::strip_gate",
        _forward,
        mutates_args=(),
        schema="(Tensor x, Tensor row, Tensor column, Tensor weight, Tensor bias, bool keeps_gate)"
        " -> (Tensor, Tensor)",
    )
    _strip_gate_backward = torch.library.custom_op(
        "mmseg_papers::strip_gate_backward",
        _gradients,
        mutates_args=(),
        schema="(Tensor grad, Tensor x, Tensor row, Tensor column, Tensor weight, Tensor gate)"
        " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    )

    @_strip_gate.register_fake
    def _(x, row, column, weight, bias, keeps_gate):
        return torch.empty_like(x), torch.empty_like(x) if keeps_gate else x.new_empty(0)

    @_strip_gate_backward.register_fake
    def _(grad, x, row, column, weight, gate):
        grads = (torch.empty_like(t, memory_format=layout(t)) for t in (x, row, column))
        return *grads, torch.empty_like(weight), x.new_empty(len(weight))

else:
    _strip_gate, _strip_gate_backward = _forward, _gradients
