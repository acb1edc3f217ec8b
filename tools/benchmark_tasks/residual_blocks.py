"""Backbones of residual blocks: a training step, of which the blocks alone differ."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from mmseg.models.backbones import MobileNetV2, ResNetV1c
from torch import Tensor, nn

from mmseg_papers.models.backbones import AlignedXception, HighResolutionNet
from mmseg_papers.models.layers import fuse_residual_stages
from mmseg_papers.ops import use_references

from . import device, random_map

ATROUS = dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))


def train_step(
    variant: str, layout: torch.memory_format, backbone: Callable[[], nn.Module], size: tuple
) -> Callable[[], list[Tensor]]:
    """Forward and backward pass of one image."""
    torch.manual_seed(0)
    network = backbone()
    if variant == "ours":
        fuse_residual_stages(network)
    network = network.to(device()).to(memory_format=layout)
    image = random_map((1, 3, *size), layout)

    def run() -> list[Tensor]:
        with use_references() if variant == "stock" else nullcontext():
            loss = sum(y.square().mean() for y in network(image))
        loss.backward()
        # The norm of all gradients, where the rounding of so many batch norms averages out.
        norm = torch.stack([p.grad.norm() for p in network.parameters()]).norm()
        network.zero_grad(set_to_none=True)  # what a run leaves does not count as the next one's
        return [loss.detach(), norm]

    return run


BACKBONES = {
    "MobileNetV2": (MobileNetV2, (513, 513)),
    "HRNet-W18": (partial(HighResolutionNet, arch="w18"), (512, 1024)),
    "ResNet-50-d8": (partial(ResNetV1c, depth=50, **ATROUS), (513, 513)),
    "ResNet-101-d8": (partial(ResNetV1c, depth=101, **ATROUS), (513, 513)),
    "Xception-65": (partial(AlignedXception, depth=65), (513, 513)),
}
TASKS = {
    "residual_blocks": {
        f"{name}, {size[0]}x{size[1]}": partial(train_step, backbone=backbone, size=size)
        for name, (backbone, size) in BACKBONES.items()
    }
}
