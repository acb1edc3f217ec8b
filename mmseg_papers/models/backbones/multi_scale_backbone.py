"""One backbone for each of several image scales."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule, ModuleList
from mmseg.registry import MODELS
from torch import Tensor

from ...ops import resize_bicubic
from ..layers import CompleteLoading


@MODELS.register_module()
class MultiScaleBackbone(CompleteLoading, BaseModule):
    """Independent backbones on resized copies of the image (arXiv:1611.06612, figure 7 (d)).

    The authors' 2-scale RefineNet runs two ResNets on the image at 0.6 and 1.2 times its size. With
    images enlarged by 1.2 in the pipeline that is ``scales=(0.5, 1)``. Images are resized by
    bicubic, as in the authors' MATLAB code.

    Args:
        backbone (dict): Config of one backbone; each scale has its own weights.
        scales (Sequence[float]): Factors of the image's size. Default: (0.5, 1).
        init_cfg (dict, optional): Initialisation of the whole.

    Raises:
        ValueError: If ``scales`` is empty or a factor is not positive.
    """

    def __init__(
        self, backbone: dict, scales: Sequence[float] = (0.5, 1), init_cfg: dict | None = None
    ) -> None:
        if len(scales) == 0 or min(scales) <= 0:
            raise ValueError(f"scales must be positive factors, at least one, got {tuple(scales)}")
        super().__init__(init_cfg)
        self.scales = tuple(scales)
        self.backbones = ModuleList(MODELS.build(backbone) for _ in scales)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract the maps of all scales.

        Args:
            x (Tensor): Images, (N, C, H, W).

        Returns:
            tuple[Tensor, ...]: The first scale's maps, then the second's and so on.
        """
        maps: list[Tensor] = []
        for scale, backbone in zip(self.scales, self.backbones, strict=True):
            size = [max(round(length * scale), 1) for length in x.shape[2:]]
            maps.extend(backbone(x if scale == 1 else resize_bicubic(x, size)))
        return tuple(maps)
