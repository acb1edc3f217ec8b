"""Densely connected layers, as DenseNet's backbones and DenseASPP's pyramid use them."""

from __future__ import annotations

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from ...ops import dense_block, norm_relu_conv1x1


class DenseLayer(nn.Module):
    """BN - ReLU - 1x1 conv - BN - ReLU - 3x3 conv - channel dropout (DenseNet-B, arXiv:1608.06993).

    Args:
        in_channels (int): Channels it reads.
        bottleneck_channels (int): Between its convs.
        growth_channels (int): Channels it makes.
        dilation (int): Of the 3x3 conv, also its padding. Default: 1.
        bias (bool): Whether the convs have a bias (DenseASPP's have). Default: False.
        pre_norm (bool): Whether there is a BN before the first ReLU. Default: True.
        dropout_ratio (float): Of whole output channels. Default: 0.
        norm_cfg (dict): Default: ``dict(type='BN')``.
    """

    def __init__(
        self,
        in_channels: int,
        bottleneck_channels: int,
        growth_channels: int,
        *,
        dilation: int = 1,
        bias: bool = False,
        pre_norm: bool = True,
        dropout_ratio: float = 0.0,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        norm_cfg = norm_cfg or dict(type="BN")
        self.norm1 = build_norm_layer(norm_cfg, in_channels)[1] if pre_norm else None
        self.conv1 = nn.Conv2d(in_channels, bottleneck_channels, 1, bias=bias)
        self.norm2 = build_norm_layer(norm_cfg, bottleneck_channels)[1]
        self.conv2 = nn.Conv2d(
            bottleneck_channels, growth_channels, 3, padding=dilation, dilation=dilation, bias=bias
        )
        self.dropout = nn.Dropout2d(dropout_ratio)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_uniform_(conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The new channels.

        Args:
            x (Tensor): (N, in_channels, H, W).

        Returns:
            Tensor: (N, growth_channels, H, W).
        """
        if self.norm1 is not None:
            x = self.norm1(x)
        # A norm's output is its own, so the ReLU may reuse it; the maps that were read are not.
        x = self.conv1(F.relu(x, inplace=self.norm1 is not None))
        x = self.conv2(F.relu(self.norm2(x), inplace=True))
        return self.dropout(x)


class DenseBlock(nn.Sequential):
    """Dense layers of which each reads the block's input and the outputs of all earlier ones.

    In one buffer instead of one concatenation a layer: :func:`mmseg_papers.ops.dense_block`.

    Args:
        *layers (DenseLayer): Or one ``OrderedDict`` of them, as for ``nn.Sequential``.
        newest_first (bool): Whether a layer's channels go before those it read. Default: False.
        relu (bool): Whether the input goes through a ReLU first. Default: False.
        with_cp (bool): Recompute the 1x1 convs in the backward pass instead of keeping their
            outputs; running statistics are updated once all the same. Default: False.
    """

    def __init__(
        self, *layers, newest_first: bool = False, relu: bool = False, with_cp: bool = False
    ) -> None:
        super().__init__(*layers)
        self.newest_first = newest_first
        self.relu = relu
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        """The input and what all layers make of it.

        Args:
            x (Tensor): (N, C, H, W).

        Returns:
            Tensor: (N, C + sum of the layers' growth_channels, H, W), not to be changed in place.
        """
        return dense_block(
            x, self, newest_first=self.newest_first, relu=self.relu, recompute=self.with_cp
        )


class DenseTransition(nn.Module):
    """BN - ReLU - 1x1 conv, and a 2x2 average pool where it downsamples.

    Without the map between norm and conv: :func:`mmseg_papers.ops.norm_relu_conv1x1`.

    Args:
        in_channels (int): Channels of the block before it.
        out_channels (int): Channels of the next block's input.
        pool (bool): Whether it downsamples. Default: False.
        norm_cfg (dict): Default: ``dict(type='BN')``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        pool: bool = False,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.norm = build_norm_layer(norm_cfg or dict(type="BN"), in_channels)[1]
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.pool = pool
        nn.init.kaiming_uniform_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Fewer channels, half the size if ``pool``.

        Args:
            x (Tensor): (N, in_channels, H, W).

        Returns:
            Tensor: (N, out_channels, H, W), with ``pool`` (N, out_channels, H // 2, W // 2).
        """
        return norm_relu_conv1x1(x, self.norm, self.conv, self.pool)
