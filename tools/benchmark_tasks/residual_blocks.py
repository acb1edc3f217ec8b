"""Stages of HRNet and ResNet: a training step of residual blocks in a row."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from mmseg.models.backbones.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from mmseg_papers import ops

from . import device, random_map


def train_step(
    variant: str,
    layout: torch.memory_format,
    block: type[nn.Module],
    count: int,
    shape: tuple[int, int, int],
    dilation: int = 1,
) -> Callable[[], list[Tensor]]:
    """Forward and backward pass of ``count`` blocks on a map (C, H, W)."""
    torch.manual_seed(0)
    channels = shape[0]
    blocks = nn.ModuleList(
        block(channels, channels // block.expansion, dilation=dilation) for _ in range(count)
    )
    blocks = blocks.to(device()).to(memory_format=layout).train()
    x = random_map((1, *shape), layout, grad=True)
    function = ops.residual_blocks_reference if variant == "stock" else ops.residual_blocks

    def run() -> list[Tensor]:
        blocks.zero_grad(set_to_none=True)
        x.grad = None
        loss = function(x, blocks).square().mean()
        loss.backward()
        return [loss.detach(), x.grad, *(p.grad for p in blocks.parameters())]

    return run


TASKS = {
    "residual_blocks": {
        "4 basic, 48x128x256": partial(train_step, block=BasicBlock, count=4, shape=(48, 128, 256)),
        "4 basic, 384x16x32": partial(train_step, block=BasicBlock, count=4, shape=(384, 16, 32)),
        "12 bottlenecks, 1024x65x65": partial(
            train_step, block=Bottleneck, count=12, shape=(1024, 65, 65), dilation=2
        ),
    }
}
