"""MobileNetV2 as Light-Weight RefineNet has it."""

from __future__ import annotations

from collections.abc import Sequence

from mmseg.registry import MODELS

from .expanded_mobilenet_v2 import ExpandedMobileNetV2


@MODELS.register_module()
class LightWeightMobileNetV2(ExpandedMobileNetV2):
    """MobileNetV2 with an expansion conv in its first block, too (arXiv:1810.03272).

    Maps: 24 channels (stride 4), 32 (8), 64 and 96 (16), 160 and 320 (32).

    Args:
        out_indices (Sequence[int]): Stages whose maps are returned. Default: all but the first.
        **kwargs: As :class:`ExpandedMobileNetV2`.
    """

    def __init__(self, out_indices: Sequence[int] = (1, 2, 3, 4, 5, 6), **kwargs) -> None:
        super().__init__(out_indices=out_indices, **kwargs)
