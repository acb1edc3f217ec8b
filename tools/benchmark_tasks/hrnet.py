"""HRNet: fusions and representation head."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from mmseg.models.decode_heads.ocr_head import ObjectAttentionBlock, SpatialGatherModule
from torch import Tensor

from mmseg_papers import ops
from mmseg_papers.models.layers import SpatialOCR, gather_objects

from . import device, random_map


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


def pixel_representation(
    variant: str, layout: torch.memory_format, width: int
) -> Callable[[], list[Tensor]]:
    """The 3x3 convolution of OCR's pixel representations at 512 x 1024, forward."""
    maps = [random_map((1, width << r, 128 >> r, 256 >> r), layout) for r in range(4)]
    weight = random_map((512, 15 * width, 3, 3), layout) / (135 * width) ** 0.5
    name = "conv3x3_of_upsampled_concat"
    function = getattr(ops, name if variant == "ours" else f"{name}_reference")
    return lambda: [function(maps, weight, None, True)]


@torch.no_grad()
def object_context(
    variant: str, layout: torch.memory_format, classes: int
) -> Callable[[], list[Tensor]]:
    """OCR's gathering, attention and fusion on 512 channels at 512 x 1024, forward."""
    norm = dict(norm_cfg=dict(type="BN"), act_cfg=dict(type="ReLU"))
    block = SpatialOCR(512, 256, **norm).eval().to(device()).to(memory_format=layout)
    generator = torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        if parameter.dim() > 1:
            scale = parameter[0].numel() ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    pixels = random_map((1, 512, 128, 256), layout)
    logits = random_map((1, classes, 128, 256), layout)
    stock = ObjectAttentionBlock(512, 256, 1, None, **norm).eval().to(device())
    stock.load_state_dict(block.state_dict())
    stock.to(memory_format=layout)
    gather, run = gather_objects, block
    if variant == "stock":
        gather, run = SpatialGatherModule(1), stock

    @torch.no_grad()
    def forward() -> list[Tensor]:
        return [run(pixels, gather(pixels, logits))]

    return forward


TASKS = {
    "upsample_add": {f"HRNet-W{w}, stride 4": partial(stream_sum, width=w) for w in (18, 48)},
    "conv1x1_of_upsampled_concat": {
        f"HRNetV2-W{w} head": partial(representation, width=w) for w in (18, 32, 48)
    },
    "conv3x3_of_upsampled_concat": {
        f"OCR on HRNetV2-W{w}": partial(pixel_representation, width=w) for w in (18, 48)
    },
    "object_context": {f"{k} classes": partial(object_context, classes=k) for k in (19, 150)},
}
