"""SPNet: strips, their sum and gate, the sum of a pyramid, and both modules."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_papers import ops
from mmseg_papers.models.layers import MixedPoolingModule, StripPoolingModule

from . import device, random_map


def stretched(strip: Tensor, size: torch.Size) -> Tensor:
    """A strip over the whole map, as in the authors' mixed pooling."""
    return F.interpolate(strip, size, mode="bilinear", align_corners=True)


def adaptive_strips(x: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column means as in the authors' code."""
    return F.adaptive_avg_pool2d(x, (None, 1)), F.adaptive_avg_pool2d(x, (1, None))


def with_gradients(
    function: Callable[..., Tensor | tuple[Tensor, ...]], inputs: list[Tensor]
) -> Callable[[], list[Tensor]]:
    """What a function gives, and the gradients of its inputs."""

    def run() -> list[Tensor]:
        out = function(*inputs)
        out = list(out) if isinstance(out, tuple) else [out]
        gradients = torch.autograd.grad(sum(y.sum() for y in out), inputs)
        return [*(y.detach() for y in out), *gradients]

    return run


def means(
    variant: str, layout: torch.memory_format, channels: int, side: int
) -> Callable[[], list[Tensor]]:
    """Row and column means of a map, and their gradient."""
    x = random_map((1, channels, side, side), layout, grad=True)
    return with_gradients(adaptive_strips if variant == "stock" else ops.strip_means, [x])


def strips(channels: int, side: int, layout: torch.memory_format) -> list[Tensor]:
    """A row and a column strip."""
    sizes = ((side, 1), (1, side))
    return [random_map((1, channels, *size), layout, grad=True) for size in sizes]


def strip_sum(
    variant: str, layout: torch.memory_format, channels: int, side: int
) -> Callable[[], list[Tensor]]:
    """ReLU of the sum of two strips, and its gradient."""

    def stock(row: Tensor, column: Tensor) -> Tensor:
        return F.relu(stretched(row, (side, side)) + stretched(column, (side, side)))

    function = stock if variant == "stock" else ops.strip_sum
    return with_gradients(function, strips(channels, side, layout))


def strip_gate(
    variant: str, layout: torch.memory_format, channels: int, side: int
) -> Callable[[], list[Tensor]]:
    """A map gated by its strips, and its gradient."""
    x = random_map((1, channels, side, side), layout, grad=True)
    weight = random_map((channels, channels, 1, 1), layout).mul_(channels**-0.5)
    bias = random_map((channels,), torch.contiguous_format)
    inputs = [x, *strips(channels, side, layout), weight.requires_grad_(), bias.requires_grad_()]

    def stock(x: Tensor, row: Tensor, column: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        total = F.relu(row.expand(-1, -1, -1, side) + column.expand(-1, -1, side, -1))
        return x * F.conv2d(total, weight, bias).sigmoid()

    return with_gradients(stock if variant == "stock" else ops.strip_gate, inputs)


def pyramid_sum(variant: str, layout: torch.memory_format, side: int) -> Callable[[], list[Tensor]]:
    """ReLU of the sum of a map and two resized ones, and its gradient."""
    maps = [random_map((1, 256, s, s), layout, grad=True) for s in (side, 20, 12)]

    def stock(x: Tensor, *others: Tensor) -> Tensor:
        for y in others:
            x = x + stretched(y, x.shape[2:])
        return F.relu(x)

    def ours(*maps: Tensor) -> Tensor:
        return ops.upsample_add(maps, align_corners=True, relu=True)

    return with_gradients(stock if variant == "stock" else ours, maps)


def published_strip_pooling(spm: StripPoolingModule, x: Tensor) -> Tensor:
    """Strip pooling in the authors' operations."""
    row, column = adaptive_strips(x)
    row = spm.bn1(spm.conv1(row)).expand_as(x)
    column = spm.bn2(spm.conv2(column)).expand_as(x)
    return x * spm.conv3(F.relu(row + column)).sigmoid()


def published_mixed_pooling(mpm: MixedPoolingModule, x: Tensor) -> Tensor:
    """Mixed pooling in the authors' operations."""
    size = x.shape[2:]
    x1, x2 = mpm.reduce_short(x), mpm.reduce_long(x)
    pooled = [
        stretched(conv(F.adaptive_avg_pool2d(x1, side)), size)
        for side, conv in zip(mpm.bins, mpm.bin_convs, strict=True)
    ]
    row, column = adaptive_strips(x2)
    row, column = stretched(mpm.row_conv(row), size), stretched(mpm.column_conv(column), size)
    short = mpm.short_conv(F.relu(mpm.full_conv(x1) + sum(pooled)))
    long = mpm.long_conv(F.relu(row + column))
    return F.relu(x + mpm.project(torch.cat([short, long], dim=1)))


def module_step(
    variant: str,
    layout: torch.memory_format,
    make: Callable[[int], nn.Module],
    published: Callable[[nn.Module, Tensor], Tensor],
    channels: int,
    side: int,
) -> Callable[[], list[Tensor]]:
    """A module's output and the gradients of its input and parameters, in training mode."""
    torch.manual_seed(0)
    module = make(channels).train().to(device()).to(memory_format=layout)
    # Batches of two: their statistics over the pooled maps are those of a training step.
    x = random_map((2, channels, side, side), layout, grad=True)
    function = partial(published, module) if variant == "stock" else module

    def run() -> list[Tensor]:
        out = function(x)
        # Against an even sum, BN's gradient is zero up to rounding.
        loss = (out * out.detach().cos()).sum()
        gradients = torch.autograd.grad(loss, [x, *module.parameters()])
        # A ReLU whose input rounds to the other side of zero changes a value of the gradient, which
        # in float64 agrees to 1e-14; its norm is compared.
        return [out.detach(), gradients[0].norm()]

    return run


STRIP_POOLING = partial(module_step, make=StripPoolingModule, published=published_strip_pooling)
MIXED_POOLING = partial(module_step, make=MixedPoolingModule, published=published_mixed_pooling)
#: Maps of SPNet at a crop of 480: the first and the last stage, and the mixed-pooling modules.
FIRST, LAST, MIXED = dict(channels=64, side=120), dict(channels=512, side=60), dict(channels=256)
TASKS = {
    "strip_means": {
        "64x120x120": partial(means, **FIRST),
        "256x60x60": partial(means, **MIXED, side=60),
        "256x96x96": partial(means, **MIXED, side=96),
    },
    "strip_sum": {
        "256x60x60": partial(strip_sum, **MIXED, side=60),
        "256x96x96": partial(strip_sum, **MIXED, side=96),
    },
    "strip_gate": {
        "64x120x120": partial(strip_gate, **FIRST),
        "512x60x60": partial(strip_gate, **LAST),
    },
    "pyramid_sum": {
        "256x60x60": partial(pyramid_sum, side=60),
        "256x96x96": partial(pyramid_sum, side=96),
    },
    "strip_pooling_module": {
        "64x120x120": partial(STRIP_POOLING, **FIRST),
        "512x60x60": partial(STRIP_POOLING, **LAST),
    },
    "mixed_pooling_module": {"1024x60x60": partial(MIXED_POOLING, channels=1024, side=60)},
}
