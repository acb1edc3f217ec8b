"""DeepLab: the projection with the image level as a bias, and whole heads against mmseg's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from mmseg.models.decode_heads import ASPPHead, DepthwiseSeparableASPPHead
from torch import Tensor

from mmseg_papers import ops
from mmseg_papers.models.decode_heads import DeepLabV3Head, DeepLabV3PlusHead

from . import device, random_map


def projection(
    variant: str, layout: torch.memory_format, size: int, kernel: int, backward: bool
) -> Callable[[], list[Tensor]]:
    """Projection of the image level and four branches of 256 channels."""
    pooled = random_map((1, 256, 1, 1), layout, grad=backward)
    maps = [random_map((1, 256, size, size), layout, grad=backward) for _ in range(4)]
    weight = random_map((256, 1280, kernel, kernel), layout) / (1280**0.5 * kernel)
    weight.requires_grad_(backward)

    def stock() -> Tensor:
        image_level = F.interpolate(pooled, (size, size), mode="bilinear", align_corners=True)
        return F.conv2d(torch.cat([image_level, *maps], 1), weight, padding=kernel // 2)

    def ours() -> Tensor:
        return ops.conv_of_constant_concat(pooled, maps, weight)

    def run() -> list[Tensor]:
        y = stock() if variant == "stock" else ours()
        if not backward:
            return [y]
        # Sums over all pixels of the image level's gradients round to 1e-4 in either variant.
        _, *gradients, _ = torch.autograd.grad(y.square().sum(), [pooled, *maps, weight])
        return [y.detach(), *gradients]

    return run


def head(
    variant: str, layout: torch.memory_format, size: int, plus: bool, backward: bool
) -> Callable[[], list[Tensor]]:
    """A head with mmseg's 3x3 bottleneck and 256 channels, two images in training."""
    options = dict(
        in_channels=2048, channels=256, num_classes=21, in_index=1, norm_cfg=dict(type="BN")
    )
    if plus:
        options.update(c1_in_channels=256, c1_channels=48)
    torch.manual_seed(0)
    theirs = (DepthwiseSeparableASPPHead if plus else ASPPHead)(align_corners=True, **options)
    for parameter in theirs.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    theirs.dropout.p = 0.0  # of whole channels, where ours drops single values
    model = theirs
    if variant == "ours":
        ours = DeepLabV3PlusHead if plus else DeepLabV3Head
        model = ours(bottleneck_kernel=3, dropout_ratio=0, **options)
        model.load_state_dict(theirs.state_dict())
    model.to(device()).to(memory_format=layout).train(backward)
    images = 2 if backward else 1
    low_level = random_map((images, 256, 2 * size - 1, 2 * size - 1), layout, grad=backward)
    x = random_map((images, 2048, size, size), layout, grad=backward)

    def run() -> list[Tensor]:
        with torch.set_grad_enabled(backward):
            y = model([low_level, x])
        if not backward:
            return [y]
        torch.autograd.grad(y.square().mean(), [x, *model.parameters()])
        # Batch norm of two image-level values amplifies rounding: stock's own gradient differs by
        # a tenth between the layouts.
        return [y.detach()]

    return run


TASKS = {
    "conv_of_constant_concat": {
        f"{kernel}x{kernel}, {size} x {size}{', with gradient' * backward}": partial(
            projection, size=size, kernel=kernel, backward=backward
        )
        for kernel in (1, 3)
        for size in (33, 65)
        for backward in (False, True)
    },
    "deeplab_head": {
        f"{name}, {size} x {size}{', training step' * backward}": partial(
            head, size=size, plus=plus, backward=backward
        )
        for name, plus in (("DeepLabV3", False), ("DeepLabV3+", True))
        for size, backward in ((33, False), (65, False), (33, True))
    },
}
