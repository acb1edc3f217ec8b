"""MobileNetV2 as the authors of DenseASPP dilate it."""

from __future__ import annotations

import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers import set_stride_and_rate
from .expanded_mobilenet_v2 import ExpandedMobileNetV2

#: Output stride -> strides and rates of the seven stages; all units of a stage have its rate.
STRIDES_AND_RATES = {
    8: ((1, 2, 2, 1, 1, 1, 1), (1, 1, 1, 2, 2, 2, 2)),
    16: ((1, 2, 2, 2, 1, 1, 1), (1, 1, 1, 1, 1, 1, 1)),
}


@MODELS.register_module()
class DilatedMobileNetV2(ExpandedMobileNetV2):
    """MobileNetV2 (arXiv:1801.04381) in the authors' DenseASPP code.

    :class:`ExpandedMobileNetV2`, whose stem has a ReLU instead of ReLU6, with *every* block of a
    stage dilated (``mmseg``: the first) and dilation 2 in the last two stages (usual: 4). With
    ``output_stride=16`` the last map is up-sampled by 2, so that the head works at 1/8; the
    authors' code means to and does not.

    Args:
        output_stride (int): 8 or 16. Default: 8.
        **kwargs: As :class:`ExpandedMobileNetV2`, except ``strides`` and ``dilations``:
            ``out_indices`` (stages, default (1, 2, 4, 6)), ``norm_cfg``, ``norm_eval``,
            ``frozen_stages``, ``init_cfg`` and so on.

    Raises:
        ValueError: If ``output_stride`` is neither 8 nor 16.
    """

    def __init__(self, output_stride: int = 8, **kwargs) -> None:
        if output_stride not in STRIDES_AND_RATES:
            raise ValueError(
                f"output_stride must be one of {', '.join(map(str, STRIDES_AND_RATES))}, "
                f"got {output_stride!r}"
            )
        strides, dilations = STRIDES_AND_RATES[output_stride]
        super().__init__(strides=strides, dilations=dilations, **kwargs)
        self.output_stride = output_stride
        self.conv1.activate = nn.ReLU(inplace=True)

    def make_layer(
        self, out_channels: int, num_blocks: int, stride: int, dilation: int, expand_ratio: int
    ) -> nn.Sequential:
        """A stage of inverted residuals, all dilated."""
        stage = super().make_layer(out_channels, num_blocks, stride, dilation, expand_ratio)
        for block in stage[1:]:
            set_stride_and_rate(block.conv[1].conv, 1, dilation)
        return stage

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract maps.

        Args:
            x (Tensor): Images (N, in_channels, H, W).

        Returns:
            tuple[Tensor, ...]: The maps of ``out_indices``; the last stage's is linear, at 1/8.
        """
        maps = super().forward(x)
        if self.output_stride == 8 or len(self.layers) - 1 not in self.out_indices:
            return maps
        *others, x = maps
        return *others, F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
