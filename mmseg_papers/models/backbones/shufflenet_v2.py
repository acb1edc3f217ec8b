"""ShuffleNetV2 at output stride 16 or 32."""

from __future__ import annotations

import torch
from mmcv.cnn import ConvModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers import CompleteLoading, InitialisedLast, check_image_channels, set_stride_and_rate

#: Width -> channels of stem, stages 2 to 4 and last conv (arXiv:1807.11164, table 5).
WIDTHS = {
    0.5: (24, 48, 96, 192, 1024),
    1.0: (24, 116, 232, 464, 1024),
    1.5: (24, 176, 352, 704, 1024),
    2.0: (24, 244, 488, 976, 2048),
}
UNITS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """ShuffleNetV2's unit (arXiv:1807.11164, figure 3 (c) and (d)).

    Half of the channels pass unchanged, half through 1x1, depthwise 3x3 and 1x1 convs; the
    strided unit sends all channels through both branches. Then the halves are shuffled.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output, even.
        is_down (bool): Whether it is the strided unit, figure 3 (d).
        norm_cfg (dict): A batch norm.
    """

    def __init__(self, in_channels: int, out_channels: int, is_down: bool, norm_cfg: dict) -> None:
        super().__init__()
        half = out_channels // 2
        stride = 2 if is_down else 1
        self.is_down = is_down
        if is_down:
            self.branch1 = nn.Sequential(
                _depthwise(in_channels, stride, norm_cfg),
                ConvModule(in_channels, half, 1, norm_cfg=norm_cfg),
            )
        self.branch2 = nn.Sequential(
            ConvModule(in_channels if is_down else half, half, 1, norm_cfg=norm_cfg),
            _depthwise(half, stride, norm_cfg),
            ConvModule(half, half, 1, norm_cfg=norm_cfg),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H', W')."""
        if self.is_down:
            halves = self.branch1(x), self.branch2(x)
        else:
            kept, x = x.chunk(2, dim=1)
            halves = kept, self.branch2(x)
        # Channels of both halves in turn: a shuffle in two groups.
        return torch.stack(halves, dim=2).flatten(1, 2)


def _depthwise(channels: int, stride: int, norm_cfg: dict) -> ConvModule:
    return ConvModule(
        channels,
        channels,
        3,
        stride=stride,
        padding=1,
        groups=channels,
        norm_cfg=norm_cfg,
        act_cfg=None,
    )


@MODELS.register_module()
class ShuffleNetV2(CompleteLoading, InitialisedLast):
    """ShuffleNetV2 (arXiv:1807.11164) as HANet's trunk.

    At output stride 16 the strided convs of stage 4 have stride 1 and rate 2; the other units of
    the stage keep rate 1, as in HANet's code. Submodules are called as in MMPretrain's class of
    this name, so ``mmcls://shufflenet_v2`` loads.

    Args:
        widen_factor (float): 0.5, 1.0, 1.5 or 2.0. Default: 1.0.
        output_stride (int): Input size over the last map's: 16 or 32. Default: 16.
        in_channels (int): Channels of the images. Default: 3.
        norm_cfg (dict, optional): Default: ``dict(type='BN')``.
        init_cfg (dict | list[dict], optional): Default: that of its ``ConvModule``.

    Raises:
        ValueError: If an option has another value.

    Example:
        >>> import torch
        >>> from mmseg_papers.models.backbones import ShuffleNetV2
        >>> net = ShuffleNetV2().eval()
        >>> [tuple(y.shape[1:]) for y in net(torch.rand(1, 3, 64, 96))]
        [(116, 8, 12), (464, 4, 6), (1024, 4, 6)]
    """

    def __init__(
        self,
        widen_factor: float = 1.0,
        output_stride: int = 16,
        in_channels: int = 3,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if widen_factor not in WIDTHS:
            raise ValueError(f"widen_factor must be one of {tuple(WIDTHS)}, got {widen_factor}")
        if output_stride not in (16, 32):
            raise ValueError(f"output_stride must be 16 or 32, got {output_stride}")
        super().__init__(init_cfg)
        norm_cfg = norm_cfg or dict(type="BN")
        channels, *stages, last = WIDTHS[widen_factor]
        self.conv1 = ConvModule(in_channels, channels, 3, stride=2, padding=1, norm_cfg=norm_cfg)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layers = nn.ModuleList()
        for width, units in zip(stages, UNITS, strict=True):
            inputs = [channels] + [width] * (units - 1)
            self.layers.append(
                nn.Sequential(
                    *(ShuffleUnit(c, width, i == 0, norm_cfg) for i, c in enumerate(inputs))
                )
            )
            channels = width
        self.layers.append(ConvModule(channels, last, 1, norm_cfg=norm_cfg))
        if output_stride == 16:
            for conv in self.layers[2].modules():
                if isinstance(conv, nn.Conv2d) and conv.stride == (2, 2):
                    set_stride_and_rate(conv, 1, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Extract maps.

        Args:
            x (Tensor): Images, (N, in_channels, H, W).

        Returns:
            tuple[Tensor, Tensor, Tensor]: Of stage 2 (stride 8), stage 4 and the last conv (both
            ``output_stride``).
        """
        check_image_channels(x, self.conv1.conv, self)
        stage2, stage3, stage4, last = self.layers
        low_level = stage2(self.maxpool(self.conv1(x)))
        x = stage4(stage3(low_level))
        return low_level, x, last(x)
