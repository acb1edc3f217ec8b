"""DenseASPP: whole networks up to their logits at 1/8, so that no loss or resize blurs them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from mmseg_papers import ops
from mmseg_papers.models.backbones import DilatedDenseNet
from mmseg_papers.models.decode_heads import DenseASPPHead
from mmseg_papers.models.layers import DenseBlock, DenseTransition

from . import device, random_map


def denseaspp121(variant: str, layout: torch.memory_format, with_cp: bool = False) -> nn.Sequential:
    """DenseASPP121 with random weights; ``'stock'`` concatenates once a layer."""
    torch.manual_seed(0)
    model = nn.Sequential(
        DilatedDenseNet("121", with_cp=with_cp, out_indices=(3,)),
        DenseASPPHead(512, 128, 64, num_classes=19, pyramid_dropout_ratio=0, dropout_ratio=0),
    )
    for module in model.modules() if variant == "stock" else ():
        if isinstance(module, DenseBlock):
            module.forward = partial(
                ops.dense_block_reference,
                layers=module,
                newest_first=module.newest_first,
                relu=module.relu,
            )
        elif isinstance(module, DenseTransition):
            names = ("norm", "conv", "pool")
            parts = {name: getattr(module, name) for name in names}
            module.forward = partial(ops.norm_relu_conv1x1_reference, **parts)
    return model.to(device()).to(memory_format=layout)


def inference(variant: str, layout: torch.memory_format, size: tuple) -> Callable[[], list[Tensor]]:
    """Logits of one image."""
    model = denseaspp121(variant, layout).eval()
    image = random_map((1, 3, *size), layout)

    @torch.no_grad()
    def run() -> list[Tensor]:
        return [model(image)]

    return run


def train_step(
    variant: str, layout: torch.memory_format, size: tuple, with_cp: bool
) -> Callable[[], list[Tensor]]:
    """Forward and backward pass of one image."""
    model = denseaspp121(variant, layout, with_cp=with_cp and variant == "ours").train()
    image = random_map((1, 3, *size), layout)

    def run() -> list[Tensor]:
        loss = model(image).square().mean()
        loss.backward()
        # Rounding grows through so many batch norms (the norms of stock's gradients differ by 2e-4
        # between its own two layouts): the norm of all, where it averages out, is compared.
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
        model.zero_grad(set_to_none=True)  # what a run leaves does not count as the next one's
        return [loss.detach(), norm]

    return run


TASKS = {
    "denseaspp121_inference": {
        f"{h}x{w}": partial(inference, size=(h, w)) for h, w in ((512, 1024), (1024, 2048))
    },
    "denseaspp121_train": {
        "512x512": partial(train_step, size=(512, 512), with_cp=False),
        "512x512, with_cp": partial(train_step, size=(512, 512), with_cp=True),
    },
}
