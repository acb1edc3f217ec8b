"""The two blocks of SPNet (arXiv:2003.13328): strip pooling and mixed pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...ops import adaptive_means, strip_gate, strip_means, strip_sum, upsample_add
from ...ops.plain_layers import is_plain_conv
from .configurable import require_layer


@MODELS.register_module()
class StripPoolingModule(BaseModule):
    """Gate a map by its row and column means (section 3.1, figure 2; the authors' ``SPBlock``).

    z = x * sigmoid(W relu(row + column) + b): ``row`` is a 3-tap conv and BN along the rows' means,
    ``column`` the same along the columns' means. A plug-in layer of mmcv: SPNet has it behind the
    3x3 conv of bottlenecks. Keys are the authors'.

    Both strips see the whole map, so padding changes every pixel of its rows and columns.
    Initialised as the authors', also where a backbone is initialised from a file: weights normal of
    variance 2 / (kernel * channels), norms 1 and 0, the bias as PyTorch's.

    Args:
        in_channels (int): Channels of the map.
        norm_cfg (dict): BN of the strips. Backbones do not hand theirs to a plug-in: name the same
            one here. Default: ``dict(type='BN')``.

    Example:
        >>> import torch
        >>> from mmseg_papers.models.layers import StripPoolingModule
        >>> StripPoolingModule(64)(torch.rand(2, 64, 30, 40)).shape
        torch.Size([2, 64, 30, 40])

        In a backbone of mmseg, in all bottlenecks of the last stage:

        >>> backbone = dict(type='ResNetV1c', depth=50, plugins=[dict(
        ...     cfg=dict(type='StripPoolingModule', norm_cfg=dict(type='SyncBN')),
        ...     stages=(False, False, False, True), position='after_conv2')])
    """

    _abbr_ = "spm"

    def __init__(self, in_channels: int, norm_cfg: dict | None = None) -> None:
        super().__init__(
            [
                dict(type="Kaiming", layer="Conv2d"),
                dict(type="Constant", val=1, layer=["_BatchNorm", "GroupNorm"]),
            ]
        )
        require_layer(norm_cfg)
        norm_cfg = norm_cfg or dict(type="BN")
        self.conv1 = nn.Conv2d(in_channels, in_channels, (3, 1), padding=(1, 0), bias=False)
        self.bn1 = build_norm_layer(norm_cfg, in_channels)[1]
        self.conv2 = nn.Conv2d(in_channels, in_channels, (1, 3), padding=(0, 1), bias=False)
        self.bn2 = build_norm_layer(norm_cfg, in_channels)[1]
        self.conv3 = nn.Conv2d(in_channels, in_channels, 1)

    def init_weights(self) -> None:
        """Initialise as the authors do."""
        is_first = not self.is_init
        super().init_weights()
        if is_first:
            bound = self.conv3.in_channels**-0.5
            nn.init.uniform_(self.conv3.bias, -bound, bound)

    def strips(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both strips behind conv and BN.

        Args:
            x (Tensor): (N, C, H, W).

        Returns:
            tuple[Tensor, Tensor]: (N, C, H, 1) and (N, C, 1, W).
        """
        row, column = strip_means(x)
        return self.bn1(self.conv1(row)), self.bn2(self.conv2(column))

    def gate(self, x: Tensor) -> Tensor:
        """What the map is multiplied with, in (0, 1), for pictures of it.

        Args:
            x (Tensor): (N, C, H, W).

        Returns:
            Tensor: (N, C, H, W).
        """
        return self.conv3(strip_sum(*self.strips(x))).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Gate the map.

        Args:
            x (Tensor): (N, C, H, W).

        Returns:
            Tensor: (N, C, H, W).
        """
        if not is_plain_conv(self.conv3):
            return x * self.gate(x)
        return strip_gate(x, *self.strips(x), self.conv3.weight, self.conv3.bias)


@MODELS.register_module()
class MixedPoolingModule(BaseModule):
    """Residual block of a pyramid and of strips (section 3.2, figure 3; their ``StripPooling``).

    With m = C / 4, x1 and x2 two 1x1 reductions of x to m channels:

    - short range: s = relu(conv(x1) + sum_b up(conv(pool_b(x1)))), pooled to b x b bins;
    - long range: l = relu(row + column), the strips of x2 behind conv and BN;
    - y = relu(x + conv1x1([conv(s), conv(l)])).

    Every conv has BN behind it, and PyTorch's initialisation, which the authors keep. The bins are
    absolute, whatever the map's size; on a map smaller than the bins, they repeat its pixels.

    Args:
        in_channels (int): Channels of the map, a multiple of 4.
        bins (Sequence[int]): Sides of the pooled maps. Default: (20, 12), the authors'.
        norm_cfg (dict): Default: ``dict(type='BN')``.
        align_corners (bool): How pooled maps are resized back. Default: True, the authors'.

    Raises:
        ValueError: If ``in_channels`` is no multiple of 4, or ``bins`` are not positive.
    """

    def __init__(
        self,
        in_channels: int,
        bins: Sequence[int] = (20, 12),
        norm_cfg: dict | None = None,
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        if in_channels % 4:
            raise ValueError(f"in_channels must be a multiple of 4, got {in_channels}")
        if not bins or any(not isinstance(b, int) or b < 1 for b in bins):
            raise ValueError(f"bins must be sides of at least 1, got {bins!r}")
        require_layer(norm_cfg)
        self.bins = tuple(bins)
        self.align_corners = align_corners
        m = in_channels // 4
        norm = dict(norm_cfg=norm_cfg or dict(type="BN"))
        linear = dict(norm, act_cfg=None)
        self.reduce_short = ConvModule(in_channels, m, 1, **norm)
        self.reduce_long = ConvModule(in_channels, m, 1, **norm)
        self.full_conv = ConvModule(m, m, 3, padding=1, **linear)
        self.bin_convs = nn.ModuleList(ConvModule(m, m, 3, padding=1, **linear) for _ in self.bins)
        self.row_conv = ConvModule(m, m, (3, 1), padding=(1, 0), **linear)
        self.column_conv = ConvModule(m, m, (1, 3), padding=(0, 1), **linear)
        self.short_conv = ConvModule(m, m, 3, padding=1, **norm)
        self.long_conv = ConvModule(m, m, 3, padding=1, **norm)
        self.project = ConvModule(2 * m, in_channels, 1, **linear)

    def init_weights(self) -> None:
        """Initialise as the authors do."""
        is_first = not self.is_init
        super().init_weights()
        if is_first:
            reset_convs(self)

    def forward(self, x: Tensor) -> Tensor:
        """Add the context of a pyramid and of strips.

        Args:
            x (Tensor): (N, C, H, W).

        Returns:
            Tensor: (N, C, H, W).
        """
        short = self.short_conv(self.short_range(self.reduce_short(x)))
        long = self.long_conv(self.long_range(self.reduce_long(x)))
        return F.relu(x + self.project(torch.cat([short, long], dim=1)))

    def short_range(self, x: Tensor) -> Tensor:
        """Context of the neighbourhood.

        Args:
            x (Tensor): (N, m, H, W).

        Returns:
            Tensor: (N, m, H, W).
        """
        pooled = [
            conv(adaptive_means(x, side))
            for side, conv in zip(self.bins, self.bin_convs, strict=True)
        ]
        return upsample_add(
            [self.full_conv(x), *pooled], align_corners=self.align_corners, relu=True
        )

    def long_range(self, x: Tensor) -> Tensor:
        """Context of the rows and columns.

        Args:
            x (Tensor): (N, m, H, W).

        Returns:
            Tensor: (N, m, H, W).
        """
        row, column = strip_means(x)
        return strip_sum(self.row_conv(row), self.column_conv(column))


def reset_convs(module: nn.Module) -> None:
    """Initialise the convs of a module as PyTorch does, in place of mmcv's ``ConvModule``.

    Args:
        module (nn.Module): Its ``nn.Conv2d`` at any depth are initialised.
    """
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            conv.reset_parameters()
