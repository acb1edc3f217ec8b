"""Stages of ``mmseg``'s residual blocks that keep fewer maps for the backward pass."""

from __future__ import annotations

from mmengine.model import Sequential
from mmseg.models.backbones.resnet import BasicBlock, Bottleneck
from mmseg.models.utils import InvertedResidual, ResLayer
from torch import Tensor, nn

from ...ops import BlockDescription, residual_blocks, resnet_block
from .conv_module import conv_module_layers


def inverted_residual(block: InvertedResidual) -> BlockDescription | None:
    """Describe MobileNetV2's block to :func:`mmseg_papers.ops.residual_blocks`.

    Args:
        block (InvertedResidual): ``mmseg``'s.

    Returns:
        BlockDescription, optional: None if the block is to be called.
    """
    layers = conv_module_layers(block.conv)
    if layers is None or block.with_cp:
        return None
    shortcut = () if block.use_res_connect else None
    return BlockDescription(layers, shortcut, parts=[block.conv, *block.conv])


DESCRIPTIONS = {
    BasicBlock.forward: resnet_block,
    Bottleneck.forward: resnet_block,
    InvertedResidual.forward: inverted_residual,
}


def _describe(block: nn.Module) -> BlockDescription | None:
    describe = DESCRIPTIONS.get(type(block).forward)
    return None if describe is None else describe(block)


class ResidualStage(Sequential):
    """``mmseg``'s residual blocks in a row, by :func:`mmseg_papers.ops.residual_blocks`."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks.

        Args:
            x (Tensor): (N, C, H, W).

        Returns:
            Tensor: (N, M, H', W'), of the last block.
        """
        return residual_blocks(x, self, _describe)


class PlainResidualStage(nn.Sequential):
    """:class:`ResidualStage` where ``mmseg`` uses PyTorch's own container: MobileNetV2."""

    forward = ResidualStage.forward


STAGES = {
    Sequential: ResidualStage,
    ResLayer: ResidualStage,
    nn.Sequential: PlainResidualStage,
}


def fuse_residual_stages(model: nn.Module) -> None:
    """Let every stage of ``mmseg``'s residual blocks keep fewer maps for the backward pass.

    A stage of basic blocks, bottlenecks or inverted residuals becomes a :class:`ResidualStage`.

    Args:
        model (nn.Module): Any; its modules, their names and parameters stay.
    """
    for stage in model.modules():
        fused = STAGES.get(type(stage))
        if fused and len(stage) and all(type(b).forward in DESCRIPTIONS for b in stage):
            # Another object would not be the one that hooks and initialisation know.
            stage.__class__ = fused
