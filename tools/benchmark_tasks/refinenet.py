"""RefineNet: pooling, fusion, light-weight chain, and whole decoders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
from mmseg.models.backbones import ResNet
from torch import Tensor, nn

from mmseg_papers import ops
from mmseg_papers.models.decode_heads import LightWeightRefineNetHead, RefineNetHead

from . import device, random_map

PARTS = "mmseg_papers.models.layers.refinement"


@contextmanager
def plain() -> Iterator[None]:
    """Every operation of the decoders in its plain form."""
    pooling = mock.patch.object(
        sys.modules["mmseg_papers.ops.max_pool5x5"], "max_pool5x5", ops.max_pool5x5_reference
    )
    names = ("chained_pooling1x1", "conv1x1_pair", "upsample_add")
    patches = [mock.patch(f"{PARTS}.{n}", getattr(ops, f"{n}_reference")) for n in names]
    with pooling, patches[0], patches[1], patches[2]:
        yield


def pool(
    variant: str, layout: torch.memory_format, size: int, training: bool
) -> Callable[[], list[Tensor]]:
    """5x5 pooling of 256 channels, alone or with its gradient."""
    x = random_map((1, 256, size, size), layout, grad=training)
    upstream = random_map((1, 256, size, size), layout)
    function = ops.max_pool5x5 if variant == "ours" else ops.max_pool5x5_reference

    def run() -> list[Tensor]:
        y = function(x)
        return [y.detach(), *(torch.autograd.grad(y, x, upstream) if training else ())]

    return run


def fusion(variant: str, layout: torch.memory_format) -> Callable[[], list[Tensor]]:
    """The last block's sum at 512 x 512: one map resized, ReLU."""
    maps = [random_map((1, 256, 128 >> r, 128 >> r), layout) for r in (1, 0)]
    function = ops.upsample_add if variant == "ours" else ops.upsample_add_reference
    return lambda: [function(maps, (128, 128), align_corners=True, relu=True)]


def chain(variant: str, layout: torch.memory_format) -> Callable[[], list[Tensor]]:
    """Four stages of pooling and 1x1 conv at stride 4 of 512 x 512, evaluation."""
    x = random_map((1, 256, 128, 128), layout)
    weights = [random_map((256, 256, 1, 1), layout) / 16 for _ in range(4)]
    name = "chained_pooling1x1" if variant == "ours" else "chained_pooling1x1_reference"

    @torch.no_grad()
    def run() -> list[Tensor]:
        return [getattr(ops, name)(x, weights)]

    return run


def network(
    variant: str,
    layout: torch.memory_format,
    head: Callable[..., nn.Module],
    size: int,
    training: bool = False,
    with_backbone: bool = False,
) -> Callable[[], list[Tensor]]:
    """A decoder, or ResNet-50 and its decoder: scores; in training the backward pass, too.

    Gradients are not compared: where two values of a window nearly tie, rounding decides which one
    receives it, in PyTorch's two layouts as well.
    """
    torch.manual_seed(0)
    decoder = head(num_classes=21, dropout_ratio=0)
    for conv in decoder.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.normal_(conv.weight, std=conv.weight[0].numel() ** -0.5)
    body = ResNet(50, norm_eval=True) if with_backbone else nn.Identity()
    for module in (decoder, body):
        module.train(training)
        module.to(device()).to(memory_format=layout)
    if with_backbone:
        inputs = random_map((1, 3, size, size), layout)
    else:
        channels = (256, 512, 1024, 2048)
        inputs = [
            random_map((1, c, size >> r, size >> r), layout).relu_()
            for r, c in enumerate(channels, start=2)
        ]

    def run() -> list[Tensor]:
        with torch.set_grad_enabled(training):
            scores = decoder(body(inputs))
            if training:
                scores.square().mean().backward()
                decoder.zero_grad(set_to_none=True)  # does not count as the next run's
            return [scores.detach()]

    def stock() -> list[Tensor]:
        with plain():
            return run()

    return stock if variant == "stock" else run


TASKS = {
    "max_pool5x5": {
        "256x120x120": partial(pool, size=120, training=False),
        "256x120x120, training": partial(pool, size=120, training=True),
    },
    "refinenet_fusion": {"256x64x64 -> 256x128x128": fusion},
    "chained_pooling1x1": {"256x128x128": chain},
    "light_weight_refinenet": {
        "R-50 decoder, 512x512": partial(network, head=LightWeightRefineNetHead, size=512),
        "R-50 decoder, 256x256, training": partial(
            network, head=LightWeightRefineNetHead, size=256, training=True
        ),
    },
    "refinenet": {
        "R-50, 256x256": partial(network, head=RefineNetHead, size=256, with_backbone=True),
        "R-50 decoder, 256x256, training": partial(
            network, head=RefineNetHead, size=256, training=True
        ),
    },
}
