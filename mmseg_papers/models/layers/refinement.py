"""The parts of a RefineNet block (arXiv:1611.06612, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ...ops import MaxPool5x5, chained_pooling1x1, conv1x1_pair, resize_bicubic, upsample_add
from ...ops.plain_layers import is_hooked, is_plain_conv

FUSION_MODES = ("bilinear", "bicubic")


class ResidualConvUnit(nn.Module):
    """x + conv2(ReLU(conv1(ReLU(x)))): section 3.2, "residual convolution unit" (RCU).

    3x3 convs without norm layers. As in the authors' code only the first has a bias, and x itself
    is not rectified.

    Args:
        channels (int): Of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Refine a map (N, channels, H, W); its size stays."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x)), inplace=True))


class ChainedResidualPooling(nn.Module):
    """x + t_1 + .. + t_K, each t_k pooled and convolved from t_{k-1}, t_0 = x: section 3.2.

    The pools are 5x5 with stride 1; the input is rectified already. The paper pools first:
    t_k = conv_k(pool(t_{k-1})). The improved version of the journal (TPAMI 42(5)) and of most
    models that the authors released in 2018 convolves first: t_k = pool(conv_k(t_{k-1})). The
    weights have the same shapes, so the order is in their names: ``pool_convs`` and ``conv_pools``.

    Args:
        channels (int): Of the map.
        num_stages (int): K: 2 in the paper's text, 4 in the authors' code and every released model.
        pool_first (bool): The order. Default: True.
        kernel_size (int): Of the convs: 3, or 1 in the light-weight network. Default: 3.
    """

    def __init__(
        self, channels: int, num_stages: int, pool_first: bool = True, kernel_size: int = 3
    ) -> None:
        super().__init__()
        convs = nn.ModuleList(
            nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, bias=False)
            for _ in range(num_stages)
        )
        self.pool_first = pool_first
        self.kernel_size = kernel_size
        self.add_module("pool_convs" if pool_first else "conv_pools", convs)
        self.pool = MaxPool5x5()

    def forward(self, x: Tensor) -> Tensor:
        """Add the pooled context to a rectified map (N, channels, H, W); its size stays."""
        convs = self.pool_convs if self.pool_first else self.conv_pools
        is_one_op = self.pool_first and self.kernel_size == 1
        if is_one_op and all(map(is_plain_conv, convs)) and not is_hooked(self.pool):
            return chained_pooling1x1(x, [conv.weight for conv in convs])
        total = step = x
        for conv in convs:
            step = conv(self.pool(step)) if self.pool_first else self.pool(conv(step))
            total = total + step if total is x else total.add_(step)
        return total


class FeaturePath(nn.Module):
    """What takes one map of the backbone to a block's sum: section 3.2.

    A conv to the path's width, RCUs, and the conv of the multi-resolution fusion. Where two 1x1
    convs meet (light-weight network) they run as one.

    Args:
        in_channels (int): Of the backbone's map.
        channels (int): The path's width.
        fusion_channels (int, optional): Width of the sum. Default: no fusion conv, as in a block
            with one input.
        num_units (int): RCUs. Default: 2.
        kernel_size (int): Of the convs. Default: 3.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        fusion_channels: int | None = None,
        num_units: int = 2,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        options = dict(kernel_size=kernel_size, padding=kernel_size // 2, bias=False)
        self.reduction = nn.Conv2d(in_channels, channels, **options)
        self.units = nn.Sequential(*(ResidualConvUnit(channels) for _ in range(num_units)))
        self.fusion = nn.Conv2d(channels, fusion_channels, **options) if fusion_channels else None

    def forward(self, x: Tensor) -> Tensor:
        """Adapt a map: (N, in_channels, H, W) -> (N, fusion_channels or channels, H, W)."""
        if self.fusion is None:
            return self.units(self.reduction(x))
        is_pair = len(self.units) == 0 and self.fusion.kernel_size == (1, 1)
        if is_pair and is_plain_conv(self.reduction) and is_plain_conv(self.fusion):
            return conv1x1_pair(x, self.reduction.weight, self.fusion.weight)
        return self.fusion(self.units(self.reduction(x)))


class RefineBlock(nn.Module):
    """Fusion of maps of several resolutions, ReLU, chained residual pooling, output RCUs.

    Args:
        channels (int): Of the maps and the sum.
        link_channels (int, optional): Width of the next block's sum, to which a conv takes the
            result. Default: no such conv, as in the last block.
        num_units (int): Output RCUs: 3 in the authors' code, 1 in the paper's text. Default: 3.
        num_pool_stages (int): As for :class:`ChainedResidualPooling`. Default: 4.
        pool_first (bool): As for :class:`ChainedResidualPooling`. Default: True.
        kernel_size (int): Of the convs outside the RCUs. Default: 3.
        fusion_mode (str): Resizing to the largest map: ``'bilinear'`` (paper) or ``'bicubic'``, as
            MATLAB's ``imresize`` (the authors' code). Default: ``'bilinear'``.
        align_corners (bool): For bilinear resizing. Default: True, as in the PyTorch port.
        relu6 (bool): ReLU6 on the sum, as in the light-weight network on MobileNetV2.
            Default: False.

    Raises:
        ValueError: If ``fusion_mode`` is neither of these.
    """

    def __init__(
        self,
        channels: int,
        link_channels: int | None = None,
        *,
        num_units: int = 3,
        num_pool_stages: int = 4,
        pool_first: bool = True,
        kernel_size: int = 3,
        fusion_mode: str = "bilinear",
        align_corners: bool = True,
        relu6: bool = False,
    ) -> None:
        super().__init__()
        if fusion_mode not in FUSION_MODES:
            raise ValueError(
                f"fusion_mode must be one of {', '.join(FUSION_MODES)}, got {fusion_mode!r}"
            )
        self.fusion_mode = fusion_mode
        self.align_corners = align_corners
        self.relu6 = relu6
        self.pooling = ChainedResidualPooling(channels, num_pool_stages, pool_first, kernel_size)
        self.units = nn.Sequential(*(ResidualConvUnit(channels) for _ in range(num_units)))
        self.link = (
            nn.Conv2d(channels, link_channels, kernel_size, padding=kernel_size // 2, bias=False)
            if link_channels
            else None
        )

    def fuse(self, maps: Sequence[Tensor]) -> Tensor:
        """Resize to the largest height and width, add and rectify.

        Args:
            maps (Sequence[Tensor]): At least one, (N, channels, h_i, w_i).

        Returns:
            Tensor: (N, channels, H, W).
        """
        size = tuple(max(x.shape[dim] for x in maps) for dim in (2, 3))
        if self.fusion_mode == "bicubic":
            maps = [x if x.shape[2:] == size else resize_bicubic(x, size) for x in maps]
        align_corners = self.align_corners and self.fusion_mode == "bilinear"
        y = upsample_add(maps, size, align_corners=align_corners, relu=not self.relu6)
        return F.relu6(y) if self.relu6 else y

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Refine.

        Args:
            maps (Sequence[Tensor]): At least one, (N, channels, h_i, w_i).

        Returns:
            Tensor: (N, link_channels or channels, H, W) at the largest height and width.
        """
        y = self.units(self.pooling(self.fuse(maps)))
        return y if self.link is None else self.link(y)
