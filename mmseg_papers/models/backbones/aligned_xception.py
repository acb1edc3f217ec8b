"""The modified aligned Xception of DeepLabV3+."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ...ops import BlockDescription, residual_blocks
from ..layers import (
    CompleteLoading,
    check_image_channels,
    conv_module_layers,
    set_stride_and_rate,
    strides_to_rates,
)

ENTRY = ((128, 2), (256, 2), (728, 2))
ENTRY_71 = ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))
#: depth -> (channels and stride of the entry flow's modules, modules of the middle flow)
ARCHS = {41: (ENTRY, 8), 65: (ENTRY, 16), 71: (ENTRY_71, 16)}
STEM_STRIDE = 2


class XceptionConv(DepthwiseSeparableConvModule):
    """A separable conv, perhaps behind a ReLU.

    Args:
        *args: As ``DepthwiseSeparableConvModule``.
        pre_activate (bool): ReLU before it.
        **kwargs: As ``DepthwiseSeparableConvModule``.
    """

    def __init__(self, *args, pre_activate: bool, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.pre_activate = pre_activate

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x (Tensor): (N, C, H, W).

        Returns:
            Tensor: (N, M, H', W').
        """
        return super().forward(F.relu(x) if self.pre_activate else x)


def _describe(conv: nn.Module) -> BlockDescription | None:
    if type(conv) is not XceptionConv:  # it wraps one
        return None
    convs = conv.depthwise_conv, conv.pointwise_conv
    if (layers := conv_module_layers(convs)) is None:
        return None
    return BlockDescription(layers, None, relu_first=conv.pre_activate, parts=convs)


class XceptionModule(nn.Module):
    """Three separable convs and a shortcut (arXiv:1802.02611, figure 4).

    x -> (ReLU, depthwise conv, BN, pointwise conv, BN) three times, plus the shortcut of the
    un-rectified x. The figure's text has BN and ReLU after every depthwise conv; in the authors'
    code and weights only the network's last module does, and it has no ReLU before.

    Args:
        in_channels (int): Channels of the input.
        channels (Sequence[int]): Output channels of the three separable convs.
        shortcut (str, optional): ``'conv'`` (1x1 conv and BN), ``'sum'`` (identity) or None.
        pre_activate (bool): ReLU before every separable conv (True) or after both of its halves.
        depthwise_relu (bool): ReLU also between the halves where ``pre_activate`` is True.
        norm_cfg (dict): Of every conv.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        shortcut: str | None,
        pre_activate: bool,
        depthwise_relu: bool,
        norm_cfg: dict,
    ) -> None:
        super().__init__()
        relu = dict(type="ReLU")
        widths = [in_channels, *channels]
        self.convs = nn.ModuleList(
            XceptionConv(
                *widths[i : i + 2],
                3,
                padding=1,
                norm_cfg=norm_cfg,
                act_cfg=None if pre_activate else relu,
                dw_act_cfg=relu if depthwise_relu or not pre_activate else None,
                pre_activate=pre_activate,
            )
            for i in range(len(channels))
        )
        self.has_sum = shortcut == "sum"
        self.shortcut = None
        if shortcut == "conv":
            self.shortcut = ConvModule(
                in_channels, channels[-1], 1, norm_cfg=norm_cfg, act_cfg=None
            )

    def set_stride_and_rates(self, stride: int, rates: Sequence[int]) -> None:
        """Put the stride into the last conv and the shortcut, and a rate into each conv.

        Args:
            stride (int): Of the module.
            rates (Sequence[int]): One a conv.
        """
        strides = [1] * (len(self.convs) - 1) + [stride]
        for conv, conv_stride, rate in zip(self.convs, strides, rates, strict=True):
            set_stride_and_rate(conv.depthwise_conv.conv, conv_stride, rate)
        if self.shortcut is not None:
            set_stride_and_rate(self.shortcut.conv, stride, 1)

    def forward(
        self, x: Tensor, return_before_stride: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Transform a map.

        Args:
            x (Tensor): (N, C, H, W).
            return_before_stride (bool): Whether the map before the last conv is asked for, too.
                Default: False.

        Returns:
            Tensor or tuple[Tensor, Tensor]: The output, (N, channels[-1], ceil(H / stride),
            ceil(W / stride)), and that of the last conv but one, (N, channels[-2], H, W), which
            has no ReLU: what the authors' decoder reads.
        """
        y, convs = x, self.convs
        if return_before_stride:
            y = before_stride = residual_blocks(x, convs[:-1], _describe)
            convs = convs[-1:]
        y = residual_blocks(y, convs, _describe)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        elif self.has_sum:
            y = y + x
        return (y, before_stride) if return_before_stride else y


@MODELS.register_module()
class AlignedXception(CompleteLoading, BaseModule):
    """Modified aligned Xception (arXiv:1802.02611, section 3.2 and figure 4).

    As in the authors' TensorFlow code, whose ImageNet and segmentation files load after conversion
    (:func:`mmseg_papers.checkpoints.convert_state_dict`). The output stride can be changed after
    construction without touching a weight.

    Args:
        depth (int): 41, 65 or 71.
        output_stride (int): Input size over the last map's: 4, 8, 16 or 32. Default: 16.
        multi_grid (Sequence[int], optional): Unit rates of the last module's three convs. The
            paper found no gain from others than (1, 1, 1). Default: all 1.
        in_channels (int): Channels of the images. Default: 3.
        depthwise_relu (bool): ReLU after every depthwise conv, as in figure 4 and its text; the
            authors' code and weights have it in the last module only. Default: False.
        out_indices (Sequence[int]): Of the maps at strides 4, 8 and 16, taken before striding and
            without ReLU, and the last one. Default: (0, 1, 2, 3).
        norm_cfg (dict): eps and momentum are the authors' 0.001 and 0.0003 unless given. Default:
            ``dict(type='BN')``.
        init_cfg (dict, optional): Default: truncated normal of standard deviation 0.09, as the
            authors.

    Raises:
        ValueError: If an option has a value outside the ones above.

    Example:
        >>> import torch
        >>> from mmseg_papers.models.backbones import AlignedXception
        >>> net = AlignedXception(depth=41).eval()
        >>> [tuple(y.shape[1:]) for y in net(torch.rand(1, 3, 65, 97))]
        [(256, 17, 25), (728, 9, 13), (1024, 5, 7), (2048, 5, 7)]
    """

    def __init__(
        self,
        depth: int,
        output_stride: int = 16,
        multi_grid: Sequence[int] | None = None,
        *,
        in_channels: int = 3,
        depthwise_relu: bool = False,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        norm_cfg: dict = dict(type="BN"),  # noqa: B006  (OpenMMLab's convention)
        init_cfg: dict | None = None,
    ) -> None:
        if depth not in ARCHS:
            raise ValueError(f"depth must be one of {', '.join(map(str, ARCHS))}, got {depth!r}")
        if multi_grid is not None and (len(multi_grid) != 3 or min(multi_grid) < 1):
            raise ValueError(
                "multi_grid must be the unit rates of the last module's 3 convs, each at least 1, "
                f"got {tuple(multi_grid)}"
            )
        if not out_indices or not 0 <= min(out_indices) <= max(out_indices) < 4:
            raise ValueError(f"out_indices must be of 0 to 3, got {tuple(out_indices)}")
        super().__init__(
            init_cfg or dict(type="TruncNormal", layer="Conv2d", std=0.09, a=-0.18, b=0.18)
        )
        keeps_statistics = norm_cfg["type"] not in ("GN", "LN")
        norm_cfg = {"eps": 1e-3, **(dict(momentum=3e-4) if keeps_statistics else {}), **norm_cfg}
        self.multi_grid = (1, 1, 1) if multi_grid is None else tuple(multi_grid)
        self.out_indices = tuple(out_indices)
        self.stem = nn.Sequential(
            ConvModule(in_channels, 32, 3, stride=STEM_STRIDE, padding=1, norm_cfg=norm_cfg),
            ConvModule(32, 64, 3, padding=1, norm_cfg=norm_cfg),
        )
        entry, num_middle = ARCHS[depth]
        rows = [((width,) * 3, stride, "conv") for width, stride in entry]
        rows += [((728,) * 3, 1, "sum")] * num_middle
        rows += [((728, 1024, 1024), 2, "conv"), ((1536, 1536, 2048), 1, None)]
        self.blocks = nn.ModuleList()
        width = 64
        for i, (channels, _, shortcut) in enumerate(rows):
            is_last = i == len(rows) - 1
            self.blocks.append(
                XceptionModule(width, channels, shortcut, not is_last, depthwise_relu, norm_cfg)
            )
            width = channels[-1]
        self._strides = [stride for _, stride, _ in rows]
        # The decoder reads inside the last modules of strides 4, 8 and 16, which are strided.
        self._taps = [i for i, stride in enumerate(self._strides) if stride == 2][1:]
        self.set_output_stride(output_stride)

    def set_output_stride(self, output_stride: int) -> None:
        """Change strides and rates to another output stride; weights stay as they are.

        Args:
            output_stride (int): As for the constructor.

        Raises:
            ValueError: If the network cannot have it.
        """
        plan = strides_to_rates(self._strides, output_stride, STEM_STRIDE)
        for i, (block, (stride, rate)) in enumerate(zip(self.blocks, plan, strict=True)):
            unit_rates = self.multi_grid if i == len(plan) - 1 else (1, 1, 1)
            block.set_stride_and_rates(stride, [rate * unit_rate for unit_rate in unit_rates])
        self.output_stride = output_stride

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract maps.

        Args:
            x (Tensor): Images, (N, in_channels, H, W); the authors' sizes are 16 k + 1.

        Returns:
            tuple[Tensor, ...]: Those of ``out_indices``: (N, 256, H / 4, W / 4), (N, 728, H / 8,
            W / 8), (N, 1024, H / 16, W / 16) and (N, 2048, H / s, W / s), sizes rounded up, where
            s is the output stride and no stride exceeds it.

        Raises:
            ValueError: If the images have another number of channels than the network.
        """
        check_image_channels(x, self.stem[0].conv, self)
        x = self.stem(x)
        maps = []
        for i, block in enumerate(self.blocks):
            if i in self._taps:
                x, before_stride = block(x, return_before_stride=True)
                maps.append(before_stride)
            else:
                x = block(x)
        maps.append(x)
        return tuple(maps[i] for i in self.out_indices)
