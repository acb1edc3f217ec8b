"""ESPNetv2's encoder, the base network of DSRL's published weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers import CompleteLoading, NormPReLU, check_image_channels

#: scale -> channels at strides 2, 4, 8 and 16
CHANNELS: dict[float, tuple[int, int, int, int]] = {
    0.5: (16, 32, 64, 128),
    1.0: (32, 64, 128, 256),
    1.25: (32, 80, 160, 320),
    1.5: (32, 96, 192, 384),
    2.0: (32, 128, 256, 512),
}
#: (largest kernel of a level's first unit, number and largest kernel of its further units)
LEVELS = ((13, 0, 0), (11, 3, 9), (9, 7, 7))
BRANCHES = 4


class EESP(BaseModule):
    """Extremely efficient spatial pyramid of depthwise dilated convolutions (arXiv:1811.11431).

    A grouped 1x1 conv, four depthwise 3x3 convs of growing dilation whose outputs are added up one
    after the other, and a grouped 1x1 conv over their concatenation; a shortcut where input and
    output have one shape.

    Args:
        in_channels (int): A multiple of 4.
        out_channels (int): A multiple of 16.
        stride (int): Of the depthwise convs. Default: 1.
        max_kernel (int): Of the kernels 3, 5, 7 and 9 that the dilations stand for, larger ones
            are replaced by 3. Default: 9.
        norm_cfg (dict): Default: ``dict(type='BN')``.
        is_complete (bool): False leaves out the shortcut and the PReLU at the end, as in
            :class:`EESPDownsampler`. Default: True.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        max_kernel: int = 9,
        norm_cfg: dict = dict(type="BN"),  # noqa: B006  (OpenMMLab's convention)
        is_complete: bool = True,
    ) -> None:
        super().__init__()
        width = out_channels // BRANCHES
        kernels = (3 + 2 * branch for branch in range(BRANCHES))
        dilations = sorted((k - 1) // 2 if k <= max_kernel else 1 for k in kernels)
        self.reduce = ConvModule(
            in_channels,
            width,
            1,
            groups=BRANCHES,
            norm_cfg=norm_cfg,
            act_cfg=dict(type="PReLU", num_parameters=width),
        )
        self.pyramid = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride, d, dilation=d, groups=width, bias=False)
            for d in dilations
        )
        self.norm_act = NormPReLU(out_channels, norm_cfg)
        self.expand = ConvModule(
            out_channels, out_channels, 1, groups=BRANCHES, norm_cfg=norm_cfg, act_cfg=None
        )
        self.act = nn.PReLU(out_channels) if is_complete else None

    def forward(self, x: Tensor) -> Tensor:
        """Look at several scales.

        Args:
            x (Tensor): (N, in_channels, H, W).

        Returns:
            Tensor: (N, out_channels, ceil(H / stride), ceil(W / stride)).
        """
        y = self.reduce(x)
        maps = [conv(y) for conv in self.pyramid]
        for i in range(1, len(maps)):
            maps[i] = maps[i] + maps[i - 1]
        y = self.expand(self.norm_act(torch.cat(maps, dim=1)))
        if self.act is None:
            return y
        return self.act(y + x if y.shape == x.shape else y)


class EESPDownsampler(BaseModule):
    """Strided EESP beside average pooling, reinforced by the image (arXiv:1811.11431, figure 3).

    The authors' unit has a second, unused PReLU; ours leaves its weights out.

    Args:
        in_channels (int): Channels of the map.
        out_channels (int): ``out_channels - in_channels`` of them come from the EESP.
        max_kernel (int): As for :class:`EESP`.
        image_channels (int): Channels of the image. Default: 3.
        norm_cfg (dict): Default: ``dict(type='BN')``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        max_kernel: int,
        image_channels: int = 3,
        norm_cfg: dict = dict(type="BN"),  # noqa: B006
    ) -> None:
        super().__init__()
        self.eesp = EESP(
            in_channels, out_channels - in_channels, 2, max_kernel, norm_cfg, is_complete=False
        )
        act_cfg = dict(type="PReLU", num_parameters=image_channels)
        self.reinforce = nn.Sequential(
            ConvModule(
                image_channels, image_channels, 3, padding=1, norm_cfg=norm_cfg, act_cfg=act_cfg
            ),
            ConvModule(image_channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=None),
        )
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Halve the map.

        Args:
            x (Tensor): (N, in_channels, H, W).
            image (Tensor): (N, image_channels, H', W') with H' at least H; it is halved by average
                pooling until its height is the result's.

        Returns:
            Tensor: (N, out_channels, ceil(H / 2), ceil(W / 2)).
        """
        y = torch.cat([_halve(x), self.eesp(x)], dim=1)
        image = _halve(image)
        while image.shape[2] > y.shape[2]:
            image = _halve(image)
        return self.act(y + self.reinforce(image))


def _halve(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, kernel_size=3, stride=2, padding=1)


@MODELS.register_module()
class ESPNetv2(CompleteLoading, BaseModule):
    """ESPNetv2's encoder without its ImageNet classifier (arXiv:1811.11431; EdgeNets' code).

    Args:
        scale (float): Width: 0.5, 1.0, 1.25, 1.5 or 2.0. Default: 2.0.
        in_channels (int): Channels of the images. Default: 3.
        norm_cfg (dict): Default: ``dict(type='BN')``.
        init_cfg (dict | list[dict], optional): Default: convs as He et al. (fan out), as the
            authors do.

    Raises:
        ValueError: If there is no such scale.

    Example:
        >>> import torch
        >>> from mmseg_papers.models.backbones import ESPNetv2
        >>> net = ESPNetv2(scale=0.5).eval()
        >>> [tuple(y.shape) for y in net(torch.rand(1, 3, 64, 96))]
        [(1, 16, 32, 48), (1, 32, 16, 24), (1, 64, 8, 12), (1, 128, 4, 6)]
    """

    def __init__(
        self,
        scale: float = 2.0,
        in_channels: int = 3,
        norm_cfg: dict = dict(type="BN"),  # noqa: B006
        init_cfg: dict | list[dict] | None = dict(  # noqa: B006
            type="Kaiming", layer="Conv2d", mode="fan_out"
        ),
    ) -> None:
        if scale not in CHANNELS:
            raise ValueError(f"scale must be one of {', '.join(map(str, CHANNELS))}, got {scale!r}")
        super().__init__(init_cfg)
        channels = CHANNELS[scale]
        self.stem = ConvModule(
            in_channels,
            channels[0],
            3,
            stride=2,
            padding=1,
            norm_cfg=norm_cfg,
            act_cfg=dict(type="PReLU", num_parameters=channels[0]),
        )
        self.downsamplers = nn.ModuleList()
        self.levels = nn.ModuleList()
        for i, (first_kernel, units, kernel) in enumerate(LEVELS):
            width = channels[i + 1]
            self.downsamplers.append(
                EESPDownsampler(channels[i], width, first_kernel, in_channels, norm_cfg)
            )
            self.levels.append(
                nn.Sequential(*(EESP(width, width, 1, kernel, norm_cfg) for _ in range(units)))
            )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract the maps of all levels.

        Args:
            x (Tensor): Images, (N, in_channels, H, W).

        Returns:
            tuple[Tensor, ...]: Maps of strides 2, 4, 8 and 16, sizes rounded up.

        Raises:
            ValueError: If the images have another number of channels than the network.
        """
        check_image_channels(x, self.stem.conv, self)
        maps = [self.stem(x)]
        for downsampler, level in zip(self.downsamplers, self.levels, strict=True):
            maps.append(level(downsampler(maps[-1], x)))
        return tuple(maps)
