"""ResNet at any output stride, with multi-grid and DeepLabV3's cascaded blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmseg.models.backbones.resnet import BasicBlock, ResNet
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import (
    CompleteLoading,
    check_image_channels,
    set_stride_and_rate,
    strides_to_rates,
    warn_of_dead_rates,
)
from .train_returns_self import TrainReturnsSelf

STYLES = ("pytorch", "tensorflow")
STEM_STRIDE = 4


class Subsample(nn.Module):
    """Every ``stride``-th pixel of both sides, the shortcut of a strided unit that keeps its width.

    Args:
        stride (int): Of both sides.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))."""
        return x[:, :, :: self.stride, :: self.stride]


class SameMaxPool(nn.Module):
    """TensorFlow's 3x3 max pool of stride 2: an even side is padded at its end only."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))."""
        padding = [side % 2 for side in x.shape[2:]]
        return F.max_pool2d(x, 3, stride=2, padding=padding, ceil_mode=True)


@MODELS.register_module()
class AtrousResNet(CompleteLoading, TrainReturnsSelf, ResNet):
    """ResNet with atrous convolution (arXiv:1706.05587, sections 3.1 and 3.2).

    ``mmseg``'s ``ResNet`` with the same keys, and three things of DeepLabV3: one option for the
    output stride, which can be changed after construction without touching a weight; unit rates
    (multi-grid) that multiply the block's rate, where ``mmseg``'s ``multi_grid`` replaces it; and
    blocks 5 to 7, copies of block 4 in cascade, of which only block 5's first unit is wider. These
    blocks start as the identity and may be missing from a file of ImageNet weights.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        num_blocks (int): Residual blocks, 4 to 7. Default: 4.
        output_stride (int): Input size over the last map's: 4, 8, 16 or 32; with more blocks also
            64, 128 and 256. Default: 16.
        multi_grid (Sequence[int], optional): Unit rates of the three units of blocks 4 to 7, such
            as (1, 2, 4). Default: all 1.
        style (str): ``'pytorch'``, strides in the first unit of a block; or ``'tensorflow'`` for
            files of slim's ``resnet_v1_{50,101}_beta``: strides in the last unit, TensorFlow's
            padding in the max pool, and as the first map what DeepLabV3+ reads there, the last
            residual at stride 4 before it is added. The beta networks have ``deep_stem=True,
            stem_channels=128``. Default: ``'pytorch'``.
        contract_dilation (bool): Whether a unit whose stride is removed keeps the rate of the unit
            before it. It always does in style ``'tensorflow'``; torchvision does, ``mmseg``'s
            weights were trained without. Default: False.
        out_indices (Sequence[int], optional): Which blocks' maps are returned. Default: all.
        frozen_stages (int): Blocks that stay as they are, the stem too: 1 for the first one, and so
            on; 0 for the stem alone. Default: -1, none.
        **kwargs: As ``mmseg``'s ResNet: ``deep_stem``, ``stem_channels``, ``norm_cfg``,
            ``norm_eval``, ``with_cp``, ``init_cfg`` and so on.

    Raises:
        ValueError: If an option has a value outside the ones above, ``contract_dilation`` is
            combined with ``multi_grid`` in style ``'pytorch'``, or ``avg_down`` is asked for.

    Example:
        >>> import torch
        >>> from mmseg_papers.models.backbones import AtrousResNet
        >>> net = AtrousResNet(depth=50, multi_grid=(1, 2, 4)).eval()
        >>> [tuple(y.shape[1:]) for y in net(torch.rand(1, 3, 65, 97))]
        [(256, 17, 25), (512, 9, 13), (1024, 5, 7), (2048, 5, 7)]
        >>> net.set_output_stride(8)
        >>> [tuple(y.shape[1:]) for y in net(torch.rand(1, 3, 65, 97))]
        [(256, 17, 25), (512, 9, 13), (1024, 9, 13), (2048, 9, 13)]
    """

    optional_children = ("layer5", "layer6", "layer7")

    def __init__(
        self,
        depth: int,
        num_blocks: int = 4,
        output_stride: int = 16,
        multi_grid: Sequence[int] | None = None,
        *,
        style: str = "pytorch",
        contract_dilation: bool = False,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        **kwargs,
    ) -> None:
        if depth not in self.arch_settings:
            raise ValueError(
                f"depth must be one of {', '.join(map(str, self.arch_settings))}, got {depth!r}"
            )
        units = self.arch_settings[depth][1][-1]
        if num_blocks not in (4, 5, 6, 7):
            raise ValueError(f"num_blocks must be 4, 5, 6 or 7, got {num_blocks!r}")
        if style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
        if multi_grid is not None and (len(multi_grid) != units or min(multi_grid) < 1):
            raise ValueError(
                f"multi_grid must be the {units} unit rates of a block of ResNet-{depth}, each at "
                f"least 1, got {tuple(multi_grid)}"
            )
        if multi_grid is not None and contract_dilation and style == "pytorch":
            raise ValueError(
                "contract_dilation must be False together with multi_grid, whose rates hold for "
                "every unit, got True"
            )
        if kwargs.get("avg_down"):
            raise ValueError("avg_down must be False, got True")
        if kwargs.get("plugins") and (style == "tensorflow" or num_blocks > 4):
            raise ValueError("plugins need style='pytorch' and num_blocks=4, or PluginResNetV1c")
        if not -1 <= frozen_stages <= num_blocks:
            raise ValueError(f"frozen_stages must be -1 to {num_blocks}, got {frozen_stages}")
        out_indices = tuple(range(num_blocks)) if out_indices is None else tuple(out_indices)
        if not out_indices or not 0 <= min(out_indices) <= max(out_indices) < num_blocks:
            raise ValueError(
                f"out_indices must be of 0 to {num_blocks - 1} with num_blocks={num_blocks}, got "
                f"{out_indices}"
            )
        # The stages are built without atrous rates; set_output_stride gives them strides and rates.
        super().__init__(
            depth,
            strides=(1, 1, 1, 1),
            dilations=(1, 1, 1, 1),
            out_indices=(0,),
            style="pytorch",
            contract_dilation=contract_dilation,
            **kwargs,
        )
        self.frozen_stages = frozen_stages  # there are more to come
        self.style = style
        self.out_indices = out_indices
        self.multi_grid = (1,) * units if multi_grid is None else tuple(multi_grid)
        if style == "tensorflow":
            self.maxpool = SameMaxPool()
        self._add_blocks(num_blocks)
        self.set_output_stride(output_stride)

    def _add_blocks(self, num_blocks: int) -> None:
        """Append copies of block 4."""
        is_basic = self.block is BasicBlock
        zero = dict(type="Constant", val=0, override=dict(name="norm2" if is_basic else "norm3"))
        for number in range(5, num_blocks + 1):
            layer = self.make_res_layer(
                block=self.block,
                inplanes=self.inplanes,
                planes=self.base_channels * 8,
                num_blocks=self.stage_blocks[-1],
                style="pytorch",
                with_cp=self.with_cp,
                conv_cfg=self.conv_cfg,
                norm_cfg=self.norm_cfg,
                init_cfg=zero if self.zero_init_residual else None,
            )
            self.add_module(f"layer{number}", layer)
            self.res_layers.append(f"layer{number}")
        self._freeze_stages()

    def _units(self) -> Iterator[tuple[nn.Module, int, int]]:
        """Every unit with its stride without atrous convolution and its unit rate."""
        blocks = [getattr(self, name) for name in self.res_layers]
        for b, block in enumerate(blocks):
            for i, unit in enumerate(block):
                if self.style == "tensorflow":
                    is_strided = i == len(block) - 1 and b < len(blocks) - 1
                else:
                    is_strided = i == 0 and b > 0
                yield unit, 2 if is_strided else 1, self.multi_grid[i] if b >= 3 else 1

    def set_output_stride(self, output_stride: int) -> None:
        """Change strides and rates to another output stride; weights stay as they are.

        Args:
            output_stride (int): As for the constructor.

        Raises:
            ValueError: If the network cannot have it.
        """
        units, strides, unit_rates = zip(*self._units(), strict=True)
        contract = self.contract_dilation or self.style == "tensorflow"
        plan = strides_to_rates(strides, output_stride, STEM_STRIDE, contract)
        for unit, (stride, rate), unit_rate in zip(units, plan, unit_rates, strict=True):
            conv = unit.conv1 if isinstance(unit, BasicBlock) else unit.conv2
            set_stride_and_rate(conv, stride, rate * unit_rate)
            if isinstance(unit.downsample, nn.Sequential):
                set_stride_and_rate(unit.downsample[0], stride, 1)
            else:
                unit.downsample = Subsample(stride) if stride > 1 else None
        self.output_stride = output_stride
        rates = {rate * unit_rate for (_, rate), unit_rate in zip(plan, unit_rates, strict=True)}
        self._atrous_rates = sorted(rates - {1})

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract the blocks' maps.

        Args:
            x (Tensor): Images, (N, in_channels, H, W).

        Returns:
            tuple[Tensor, ...]: The maps of ``out_indices``, the last (N, C, ceil(H / s),
            ceil(W / s)) with s the output stride.

        Raises:
            ValueError: If the images have another number of channels than the network.
        """
        first = self.stem[0] if self.deep_stem else self.conv1
        check_image_channels(x, first, self)
        x = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        x = self.maxpool(x)
        maps = []
        for i, name in enumerate(self.res_layers):
            block = getattr(self, name)
            if i == 0 and self.style == "tensorflow":
                *before, last_at_stride_4, strided = block
                for unit in before:
                    x = unit(x)
                residual, x = _residual_and_output(last_at_stride_4, x)
                x = strided(x)
                y = residual
            else:
                x = y = block(x)
            if i in self.out_indices:
                maps.append(y)
        if self.training:
            warn_of_dead_rates(x, self._atrous_rates)
        return tuple(maps)


def _residual_and_output(unit: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a unit adds to its input, and its output."""
    residual = unit.relu(unit.norm1(unit.conv1(x)))
    residual = unit.norm2(unit.conv2(residual))
    if not isinstance(unit, BasicBlock):
        residual = unit.norm3(unit.conv3(unit.relu(residual)))
    shortcut = x if unit.downsample is None else unit.downsample(x)
    return residual, unit.relu(residual + shortcut)
