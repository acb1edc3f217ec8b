"""HRNet: fusions and representation head."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_papers import ops

from . import random_map


def stream_sum(variant: str, layout: torch.memory_format, width: int) -> Callable[[], list[Tensor]]:
    """The fusion of HRNet's stride-4 stream at 512 x 1024: four maps, ReLU, and its gradient."""
    maps = [random_map((1, width, 128 >> r, 256 >> r), layout, grad=True) for r in range(4)]

    def stock() -> list[Tensor]:
        y = maps[0]
        for x in maps[1:]:
            y = y + F.interpolate(x, maps[0].shape[2:], mode="bilinear", align_corners=False)
        y = F.relu(y)
        return [y.detach(), *torch.autograd.grad(y.sum(), maps)]

    def ours() -> list[Tensor]:
        y = ops.upsample_add(maps, relu=True)
        return [y.detach(), *torch.autograd.grad(y.sum(), maps)]

    return stock if variant == "stock" else ours


def representation(
    variant: str, layout: torch.memory_format, width: int
) -> Callable[[], list[Tensor]]:
    """The mixing convolution of HRNetV2's head at 512 x 1024, forward."""
    maps = [random_map((1, width << r, 128 >> r, 256 >> r), layout) for r in range(4)]
    weight = random_map((15 * width, 15 * width, 1, 1), layout) / (15 * width) ** 0.5
    name = "conv1x1_of_upsampled_concat"
    function = getattr(ops, name if variant == "ours" else f"{name}_reference")
    return lambda: [function(maps, weight)]


TASKS = {
    "upsample_add": {f"HRNet-W{w}, stride 4": partial(stream_sum, width=w) for w in (18, 48)},
    "conv1x1_of_upsampled_concat": {
        f"HRNetV2-W{w} head": partial(representation, width=w) for w in (18, 32, 48)
    },
}
