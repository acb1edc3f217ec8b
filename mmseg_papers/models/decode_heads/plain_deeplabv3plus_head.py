"""The DeepLabV3+ head of HANet's published models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers import ASPP, BranchProjection, InitialisedLast, require_plain, select_map
from .one_map_head import OneMapHead

HE = dict(type="Kaiming", layer="Conv2d", mode="fan_in", nonlinearity="relu", bias=0)


@MODELS.register_module()
class PlainDeepLabV3PlusHead(InitialisedLast, OneMapHead):
    """DeepLabV3+'s head as HANet's authors have it (their ``network/deepv3.py``).

    ASPP, a 1x1 projection, and two dense 3x3 convs over the concatenation of the reduced
    low-level map and the up-sampled projection, in this order. No dropout; ``align_corners=True``
    everywhere. The image-level branch enters the projection as a bias of each image, behind a
    height attention of each row (:func:`mmseg_papers.ops.conv_of_constant_concat`).

    Places for :class:`mmseg_papers.models.segmentors.HeightAttentionEncoderDecoder`:
    ``bottleneck:in`` (ASPP's branches, image level first), ``bottleneck``, ``fuse:in``, ``fuse``
    and ``conv_seg``.

    Args:
        in_channels (int | Sequence[int]): Channels of the backbone's last map, or of each map with
            ``input_transform='resize_concat'``. Default: 2048.
        channels (int): Channels of every branch and conv. Default: 256.
        in_index (int | Sequence[int]): Which of the backbone's maps is the last, or which are
            joined. Default: 3.
        output_stride (int): Of the backbone: 4, 8, 16 or 32. Default: 16.
        rates (Sequence[int]): ASPP's rates at output stride 16. Default: (6, 12, 18).
        c1_in_channels (int): Channels of the low-level map. Default: 256.
        c1_channels (int): Channels that it is reduced to. Default: 48.
        c1_index (int): Which of the backbone's maps it is. Default: 0.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``: ``num_classes``, ``norm_cfg``, ``loss_decode``
            and so on; ``dropout_ratio`` (default 0) and ``align_corners`` (default True), too.

    Raises:
        ValueError: As :class:`mmseg_papers.models.layers.ASPP`, or if ``in_channels``, ``in_index``
            and ``input_transform`` do not fit each other.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int] = 2048,
        channels: int = 256,
        *,
        in_index: int | Sequence[int] = 3,
        output_stride: int = 16,
        rates: Sequence[int] = (6, 12, 18),
        c1_in_channels: int = 256,
        c1_channels: int = 48,
        c1_index: int = 0,
        **kwargs,
    ) -> None:
        require_plain(kwargs, "conv_cfg")
        super().__init__(
            in_channels,
            channels,
            in_index=in_index,
            **{"dropout_ratio": 0, "align_corners": True, "init_cfg": HE, **kwargs},
        )
        cfgs = dict(norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        self.c1_in_channels = c1_in_channels
        self.c1_index = c1_index
        self.aspp = ASPP(
            self.in_channels,
            channels,
            rates,
            output_stride,
            bottleneck_kernel=None,
            dropout_ratio=0,
            init_cfg=HE,
            **cfgs,
        )
        self.bottleneck = BranchProjection(self.aspp.concat_channels, channels, 1, **cfgs)
        self.c1_bottleneck = ConvModule(c1_in_channels, c1_channels, 1, **cfgs)
        self.fuse = nn.Sequential(
            ConvModule(c1_channels + channels, channels, 3, padding=1, **cfgs),
            ConvModule(channels, channels, 3, padding=1, **cfgs),
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Classify.

        Args:
            inputs (Sequence[Tensor]): The backbone's maps.

        Returns:
            Tensor: Logits, (N, num_classes, H, W), at the size of the low-level map.

        Raises:
            ValueError: If a map is missing or has other channels than the head was built for.
        """
        x = self._transform_inputs(inputs)
        low_level = select_map(inputs, self.c1_index, self.c1_in_channels, self, "c1_")
        x = self.bottleneck(self.aspp.branches(x))
        size = low_level.shape[2:]
        x = F.interpolate(x, size, mode="bilinear", align_corners=self.align_corners)
        x = self.fuse(torch.cat([self.c1_bottleneck(low_level), x], dim=1))
        return self.cls_seg(x)
