"""HRNetV2p: a feature pyramid from HRNet's streams."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers import InitialisedLast, convolve_concat, select_streams

#: Kaiming's normal for a linear layer; biases are zero.
PUBLISHED_INIT = dict(type="Kaiming", layer="Conv2d", a=1, mode="fan_in", nonlinearity="leaky_relu")
POOLINGS = {"AVG": F.avg_pool2d, "MAX": F.max_pool2d}


@MODELS.register_module()
class HighResolutionFPN(InitialisedLast):
    """HRNetV2p (arXiv:1904.04514, figure 4c; ``HRFPN`` of HRNet-Object-Detection).

    The streams are resized to the first, concatenated and reduced by a 1x1 conv; the result is
    pooled to strides 8, 16, .., and each level is smoothed by a 3x3 conv. No norm, no activation.

    The 1x1 conv runs on the wide streams at their own resolution, and each level is pooled from the
    one before, which is exact for averages and maxima. Keys and results are those of ``mmdet``'s
    ``HRFPN``, which takes only sizes divisible by 32 and draws its weights uniformly; its options
    ``conv_cfg``, ``norm_cfg`` (without effect there) and ``with_cp`` are not here, ``share_conv``
    is not there. In ``mmdet``: ``neck=dict(type='mmseg.HighResolutionFPN', ..)``.

    Args:
        in_channels (Sequence[int]): Channels of the streams.
        out_channels (int): Channels of every level. Default: 256.
        num_outs (int): Levels. Default: 5.
        pooling_type (str): ``'AVG'`` or ``'MAX'``. Default: ``'AVG'``.
        share_conv (bool): One 3x3 conv for all levels instead of one each. Default: False.
        init_cfg (dict, optional): Default: Kaiming's normal for a linear layer; biases 0.
        stride (int): Of the 3x3 convs, 2 in ``mmdet``'s FCOS. Default: 1.

    Raises:
        ValueError: If ``pooling_type`` is unknown or ``num_outs`` is below 1.

    Example:
        >>> import torch
        >>> from mmseg_papers.models.necks import HighResolutionFPN
        >>> neck = HighResolutionFPN((18, 36, 72, 144))
        >>> streams = [torch.rand(1, 18 << r, 64 >> r, 96 >> r) for r in range(4)]
        >>> [tuple(y.shape[2:]) for y in neck(streams)]
        [(64, 96), (32, 48), (16, 24), (8, 12), (4, 6)]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        num_outs: int = 5,
        pooling_type: str = "AVG",
        share_conv: bool = False,
        init_cfg: dict | None = None,
        *,
        stride: int = 1,
    ) -> None:
        super().__init__(init_cfg or PUBLISHED_INIT)
        if pooling_type not in POOLINGS:
            raise ValueError(
                f"pooling_type must be one of {', '.join(POOLINGS)}, got {pooling_type!r}"
            )
        if num_outs < 1:
            raise ValueError(f"num_outs must be at least 1, got {num_outs}")
        self.in_channels = tuple(in_channels)
        self.num_outs = num_outs
        self.pooling_type = pooling_type
        self.share_conv = share_conv
        self.reduction_conv = ConvModule(sum(in_channels), out_channels, 1, act_cfg=None)
        self.fpn_convs = nn.ModuleList(
            ConvModule(out_channels, out_channels, 3, stride, padding=1, act_cfg=None)
            for _ in range(1 if share_conv else num_outs)
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The pyramid.

        Args:
            inputs (Sequence[Tensor]): The streams, (N, C_r, H_r, W_r).

        Returns:
            tuple[Tensor, ...]: ``num_outs`` maps, (N, out_channels, ceil(H_0 // 2^i / stride),
            ceil(W_0 // 2^i / stride)).

        Raises:
            ValueError: If the streams have other channels, or are too small for the last level.
        """
        streams = select_streams(inputs, range(len(inputs)), self.in_channels, self)
        height, width = streams[0].shape[2:]
        if min(height, width) < 2 ** (self.num_outs - 1):
            raise ValueError(
                f"{self.num_outs} levels need a first stream of at least "
                f"{2 ** (self.num_outs - 1)} x {2 ** (self.num_outs - 1)}, got {height} x {width}"
            )
        levels = [convolve_concat(self.reduction_conv, streams, align_corners=False)]
        for _ in range(self.num_outs - 1):
            levels.append(POOLINGS[self.pooling_type](levels[-1], kernel_size=2))
        convs = list(self.fpn_convs) * (self.num_outs if self.share_conv else 1)
        return tuple(conv(level) for conv, level in zip(convs, levels, strict=True))
