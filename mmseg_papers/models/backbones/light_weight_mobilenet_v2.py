"""MobileNetV2 as Light-Weight RefineNet has it."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmseg.registry import MODELS

from .complete_mobilenet_v2 import CompleteMobileNetV2


@MODELS.register_module()
class LightWeightMobileNetV2(CompleteMobileNetV2):
    """MobileNetV2 with an expansion conv in its first block, too (arXiv:1810.03272).

    ``mmseg``'s leaves the 1x1 expansion out where the ratio is 1; the authors keep a 32 -> 32 conv
    there. Maps: 24 channels (stride 4), 32 (8), 64 and 96 (16), 160 and 320 (32).

    Args:
        out_indices (Sequence[int]): Stages whose maps are returned. Default: all but the first.
        **kwargs: As :class:`CompleteMobileNetV2`.
    """

    def __init__(self, out_indices: Sequence[int] = (1, 2, 3, 4, 5, 6), **kwargs) -> None:
        super().__init__(out_indices=out_indices, **kwargs)
        convs = self.layer1[0].conv
        width = convs[0].in_channels
        norms = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        convs.insert(0, ConvModule(width, width, kernel_size=1, **norms))
        self._freeze_stages()
