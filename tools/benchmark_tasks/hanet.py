"""HANet: pooling of rows, gates, and the projection behind a gate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_papers import ops

from . import random_map

#: Coarse rows of the attention.
ROWS = 16


def row_pooling(
    variant: str, layout: torch.memory_format, shape: tuple, pooling: str, backward: bool
) -> Callable[[], list[Tensor]]:
    """Width-wise pooling of a map to 16 rows."""
    x = random_map((1, *shape), layout, grad=backward)
    pool = ops.pool_rows if variant == "ours" else ops.pool_rows_reference

    def run() -> list[Tensor]:
        y = pool(x, ROWS, pooling)
        return [y.detach(), *torch.autograd.grad(y.sum(), x)] if backward else [y]

    return run


def gate(
    variant: str, layout: torch.memory_format, shape: tuple, with_mean: bool, backward: bool = True
) -> Callable[[], list[Tensor]]:
    """A map times its gate, perhaps pooled for the next gate, with gradients."""
    x = random_map((1, *shape), layout, grad=backward)
    factor = random_map((1, *shape[:2], 1), torch.contiguous_format).squeeze(3).sigmoid()
    factor.requires_grad_(backward)
    dy = random_map((1, *shape), layout)

    def stock() -> list[Tensor]:
        y = x * factor[..., None]
        return [y, *([F.adaptive_avg_pool2d(y, (ROWS, 1)).squeeze(3)] if with_mean else [])]

    def ours() -> list[Tensor]:
        if not with_mean:
            return [ops.gate_rows(x, factor)]
        y, mean = ops.gate_rows(x, factor, with_mean=True)
        return [y, ops.bin_rows(mean, ROWS)]

    def run() -> list[Tensor]:
        results = (stock if variant == "stock" else ours)()
        if not backward:
            return results
        weights = [dy, *(torch.ones_like(r) for r in results[1:])]
        return [*(r.detach() for r in results), *torch.autograd.grad(results, (x, factor), weights)]

    return run


def projection(
    variant: str, layout: torch.memory_format, size: tuple[int, int]
) -> Callable[[], list[Tensor]]:
    """Gate of ASPP's concatenation and its 1x1 projection, 1280 -> 256, forward."""
    constant = random_map((1, 256, 1, 1), layout)
    maps = [random_map((1, 256, *size), layout) for _ in range(4)]
    factor = random_map((1, 1280, size[0], 1), torch.contiguous_format).squeeze(3).sigmoid()
    weight = random_map((256, 1280, 1, 1), layout) / 36

    def stock() -> list[Tensor]:
        x = torch.cat([constant.expand(-1, -1, *size), *maps], dim=1) * factor[..., None]
        return [F.conv2d(x, weight)]

    def ours() -> list[Tensor]:
        parts = zip([constant, *maps], factor.split(256, dim=1), strict=True)
        rows, *gated = [ops.gate_rows(part, g) for part, g in parts]
        return [ops.conv_of_constant_concat(rows, gated, weight)]

    return stock if variant == "stock" else ours


LAST, CONCAT = (2048, 64, 128), (304, 128, 256)
TASKS = {
    "pool_rows": {
        f"{c}x{h}x{w}, {pooling}{', gradient' * backward}": partial(
            row_pooling, shape=(c, h, w), pooling=pooling, backward=backward
        )
        for c, h, w in (LAST, CONCAT)
        for pooling in ("mean", "max")
        for backward in (False, True)
    },
    "gate_rows": {
        f"{c}x{h}x{w}{', pooled' * with_mean}, gradient": partial(
            gate, shape=(c, h, w), with_mean=with_mean
        )
        for c, h, w in (LAST, (256, 128, 256))
        for with_mean in (False, True)
    },
    "gated projection": {"1280x48x96 -> 256": partial(projection, size=(48, 96))},
}
