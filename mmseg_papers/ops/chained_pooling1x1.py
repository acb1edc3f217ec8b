"""Chained residual pooling with 1x1 convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .export import is_exporting
from .layout import is_channels_last
from .max_pool5x5 import max_pool5x5, max_pool5x5_reference, pool_into


def chained_pooling1x1_reference(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Plain form of :func:`chained_pooling1x1`."""
    total = step = x
    for weight in weights:
        step = F.conv2d(max_pool5x5_reference(step), weight)
        total = total + step
    return total


def chained_pooling1x1(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """``x + t_1 + .. + t_K`` with ``t_k = W_k pool(t_{k-1})``, ``t_0 = x`` and 5x5 pools.

    The context module of Light-Weight RefineNet. On the CPU without gradients three maps serve all
    stages, and the last product is added to the sum as it is computed; new memory for every map
    costs more there than the sums. With gradients it is the plain chain of
    :func:`mmseg_papers.ops.max_pool5x5`.

    Args:
        x (Tensor): (N, C, H, W), floating point.
        weights (Sequence[Tensor]): K kernels (C, C, 1, 1).

    Returns:
        Tensor: (N, C, H, W), equal to the plain form up to rounding.

    Raises:
        ValueError: If a kernel is not (C, C, 1, 1).
    """
    channels = x.shape[1]
    for weight in weights:
        if weight.shape != (channels, channels, 1, 1):
            raise ValueError(
                f"a map of {channels} channels needs kernels ({channels}, {channels}, 1, 1), "
                f"got {tuple(weight.shape)}"
            )
    if is_exporting():
        return chained_pooling1x1_reference(x, weights)
    if x.is_cuda or torch.is_grad_enabled() or len(weights) == 0:
        total = step = x
        for weight in weights:
            step = F.conv2d(max_pool5x5(step), weight)
            total = total + step if total is x else total.add_(step)
        return total
    return _chain(x, list(weights))


def _chain(x: Tensor, weights: list[Tensor]) -> Tensor:
    channels_last = is_channels_last(x)
    x = x if channels_last else x.contiguous()
    total, pooled = torch.empty_like(x), torch.empty_like(x)
    step = torch.empty_like(x) if len(weights) > 1 else total.copy_(x)
    source = x
    for k, weight in enumerate(weights):
        pool_into(source, pooled)
        kernel = weight.flatten(1).to(x.dtype)
        is_last = k + 1 == len(weights)
        for n in range(len(x)):
            into = total[n] if is_last else step[n]
            if channels_last:  # (H * W, C), a row a position
                matrices = [m.permute(1, 2, 0).flatten(0, 1) for m in (into, pooled[n])]
                factors = matrices[1], kernel.T
            else:
                matrices = [m.flatten(1) for m in (into, pooled[n])]
                factors = kernel, matrices[1]
            torch.addmm(matrices[0], *factors, beta=int(is_last), out=matrices[0])
        if not is_last:
            torch.add(x if source is x else total, step, out=total)
        source = step
    return total


if hasattr(torch.library, "custom_op"):  # torch >= 2.4: torch.compile does not look inside
    _chain = torch.library.custom_op(
        "mmseg_papers::chained_pooling1x1",
        _chain,
        mutates_args=(),
        schema="(Tensor x, Tensor[] weights) -> Tensor",
    )

    @_chain.register_fake
    def _(x, weights):
        return torch.empty_like(x)
