"""MobileNetV2 with the 1x1 conv that ends its features."""

from __future__ import annotations

from mmcv.cnn import ConvModule
from mmseg.registry import MODELS

from .complete_mobilenet_v2 import CompleteMobileNetV2

#: Output stride -> strides and rates of the first unit of each stage; the other units have rate 1.
STRIDES_AND_RATES = {
    32: ((1, 2, 2, 2, 1, 2, 1), (1, 1, 1, 1, 1, 1, 1)),
    16: ((1, 2, 2, 2, 1, 1, 1), (1, 1, 1, 1, 1, 2, 1)),
    8: ((1, 2, 2, 1, 1, 1, 1), (1, 1, 1, 2, 1, 4, 1)),
}


@MODELS.register_module()
class FullMobileNetV2(CompleteMobileNetV2):
    """MobileNetV2 (arXiv:1801.04381) with its last 1x1 conv, which ``mmseg``'s class lacks.

    HANet's trunk: a stage whose stride is removed has an atrous first unit only, as in its
    authors' code.

    Args:
        output_stride (int): Input size over the last map's: 8, 16 or 32. Default: 16.
        out_indices (tuple[int, ...]): Which of the seven stages are returned before the last
            conv's map. Default: (2, 6), 32 and 320 channels at strides 8 and ``output_stride``.
        **kwargs: As :class:`CompleteMobileNetV2`, without ``strides`` and ``dilations``.

    Raises:
        ValueError: If ``output_stride`` is none of the above.

    Example:
        >>> import torch
        >>> from mmseg_papers.models.backbones import FullMobileNetV2
        >>> net = FullMobileNetV2().eval()
        >>> [tuple(y.shape[1:]) for y in net(torch.rand(1, 3, 64, 96))]
        [(32, 8, 12), (320, 4, 6), (1280, 4, 6)]
    """

    def __init__(
        self, output_stride: int = 16, out_indices: tuple[int, ...] = (2, 6), **kwargs
    ) -> None:
        if output_stride not in STRIDES_AND_RATES:
            raise ValueError(
                f"output_stride must be one of {tuple(STRIDES_AND_RATES)}, got {output_stride}"
            )
        strides, dilations = STRIDES_AND_RATES[output_stride]
        super().__init__(strides=strides, dilations=dilations, out_indices=out_indices, **kwargs)
        # As wide as published, however thin the rest.
        self.conv2 = ConvModule(
            self.in_channels,
            max(1280, int(1280 * self.widen_factor)),
            1,
            conv_cfg=self.conv_cfg,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )
        self.layers.append("conv2")  # the last of those that mmseg runs one after the other
        self.out_indices = (*self.out_indices, len(self.layers) - 1)
