"""DSRL: the feature-affinity loss and its gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from mmseg_papers import ops

from . import random_map


def affinity(
    variant: str, layout: torch.memory_format, channels: int, p: int
) -> Callable[[], list[Tensor]]:
    """Loss and gradients of two maps of 64 x 128 pixels, the grid for an input of 512 x 1024."""
    maps = random_map((2, 1, channels, 64, 128), torch.contiguous_format)
    maps = [x.to(memory_format=layout).requires_grad_() for x in (maps[0], maps[1])]
    name = "feature_affinity"
    function = getattr(ops, name if variant == "ours" else f"{name}_reference")

    def run() -> list[Tensor]:
        value = function(*maps, p=p).mean()
        gradients = torch.autograd.grad(value, maps)
        # Where two affinities are equal to rounding, the sign of their difference (p = 1) is
        # arbitrary, so single values of the gradients differ; their norms do not.
        return [value.detach(), *(g if p == 2 else g.norm() for g in gradients)]

    return run


TASKS = {
    "feature_affinity": {
        f"p={p}, {channels} channels, 64x128": partial(affinity, channels=channels, p=p)
        for p in (1, 2)
        for channels in (19, 128)
    }
}
