"""Layers that gather what is around every position into one map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from mmengine.model import BaseModule
from mmseg.models.decode_heads.psp_head import PPM
from torch import Tensor, nn


class AggregationModule(BaseModule):
    """CPNet's aggregation module (arXiv:2004.01547).

    A 3x3 convolution reduces the channels; then a k x 1 and a 1 x k depthwise convolution, and the
    same in the other order, see k x k positions, and their sum is normalised. The depthwise
    convolutions have a bias and neither norm nor activation between them.

    Their initialisation counts all channels as fan-out, as the authors' does, so the first outputs
    before ``norm`` are about as small as its eps.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the result.
        kernel_size (int): k, odd. Default: 11.
        conv_cfg (dict, optional): Of the convolutions. Default: None, ``Conv2d``.
        norm_cfg (dict): Of the norms. Default: ``dict(type='BN')``.

    Raises:
        ValueError: If ``kernel_size`` is even, or ``norm_cfg`` is None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 11,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = dict(type="BN"),  # noqa: B006  (never changed)
    ) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size of the aggregation must be odd, so that maps keep their size, got "
                f"{kernel_size}"
            )
        if norm_cfg is None:
            raise ValueError("norm_cfg must name a norm layer such as dict(type='BN'), got None")
        self.reduce_conv = ConvModule(
            in_channels, out_channels, 3, padding=1, conv_cfg=conv_cfg, norm_cfg=norm_cfg
        )

        def depthwise(height: int, width: int) -> ConvModule:
            return ConvModule(
                out_channels,
                out_channels,
                (height, width),
                padding=(height // 2, width // 2),
                groups=out_channels,
                conv_cfg=conv_cfg,
                act_cfg=None,
            )

        self.t1 = depthwise(kernel_size, 1)
        self.t2 = depthwise(1, kernel_size)
        self.p1 = depthwise(1, kernel_size)
        self.p2 = depthwise(kernel_size, 1)
        self.norm = build_norm_layer(norm_cfg, out_channels)[1]
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Aggregate around every position.

        Args:
            x (Tensor): (B, in_channels, h, w).

        Returns:
            Tensor: (B, out_channels, h, w).
        """
        x = self.reduce_conv(x)
        return self.relu(self.norm(self.t2(self.t1(x)) + self.p2(self.p1(x))))


class PyramidPooling(BaseModule):
    """PSPNet's pyramid pooling module (arXiv:1612.01105) with the 3x3 convolution that reads it.

    Batch norm of the map that is pooled to 1 x 1 needs two images in training.

    Args:
        in_channels (int): Channels of the input.
        channels (int): Channels of every pooled map and of the result.
        norm_cfg (dict): Of all convolutions.
        pool_scales (Sequence[int]): Sides of the pooled maps. Default: (1, 2, 3, 6).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        norm_cfg: dict,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
    ) -> None:
        super().__init__()
        self.pyramid = PPM(
            pool_scales,
            in_channels,
            channels,
            conv_cfg=None,
            norm_cfg=norm_cfg,
            act_cfg=dict(type="ReLU"),
            align_corners=False,
        )
        self.bottleneck = ConvModule(
            in_channels + len(pool_scales) * channels, channels, 3, padding=1, norm_cfg=norm_cfg
        )

    def forward(self, x: Tensor) -> Tensor:
        """Gather the means of all regions.

        Args:
            x (Tensor): (N, in_channels, h, w).

        Returns:
            Tensor: (N, channels, h, w).
        """
        return self.bottleneck(torch.cat([x, *self.pyramid(x)], dim=1))
