"""Stages of ``mmseg``'s residual blocks that keep fewer maps for the backward pass."""

from __future__ import annotations

from mmengine.model import Sequential
from mmseg.models.backbones.resnet import BasicBlock, Bottleneck
from mmseg.models.utils import ResLayer
from torch import Tensor, nn

from ...ops import residual_blocks

FORWARDS = (BasicBlock.forward, Bottleneck.forward)


class ResidualStage(Sequential):
    """``mmseg``'s residual blocks in a row, by :func:`mmseg_papers.ops.residual_blocks`."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks.

        Args:
            x (Tensor): (N, C, H, W).

        Returns:
            Tensor: (N, M, H', W'), of the last block.
        """
        return residual_blocks(x, self)


def fuse_residual_stages(model: nn.Module) -> None:
    """Let every stage of ``mmseg``'s basic blocks or bottlenecks be a :class:`ResidualStage`.

    Args:
        model (nn.Module): Any; its modules, their names and parameters stay.
    """
    for stage in model.modules():
        is_plain = type(stage) in (Sequential, ResLayer)
        if is_plain and len(stage) and all(type(block).forward in FORWARDS for block in stage):
            # Another object would not be the one that hooks and initialisation know.
            stage.__class__ = ResidualStage
