"""What the papers' MobileNetV2s have in common."""

from __future__ import annotations

from mmcv.cnn import ConvModule
from mmseg.models.backbones import MobileNetV2
from torch import Tensor

from ..layers import CompleteLoading, check_image_channels
from .train_returns_self import TrainReturnsSelf


class CompleteMobileNetV2(CompleteLoading, TrainReturnsSelf, MobileNetV2):
    """``mmseg``'s MobileNetV2 for images of any number of channels, loaded whole or not at all.

    Args:
        in_channels (int): Channels of the images. Default: 3.
        **kwargs: As ``mmseg``'s ``MobileNetV2``.
    """

    def __init__(self, *, in_channels: int = 3, **kwargs) -> None:
        super().__init__(**kwargs)
        if in_channels != 3:
            options = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
            width = self.conv1.conv.out_channels
            self.conv1 = ConvModule(in_channels, width, 3, stride=2, padding=1, **options)
        # Before training, too: distributed training asks first which parameters have gradients.
        self._freeze_stages()

    def _freeze_stages(self) -> None:
        super()._freeze_stages()
        if self.frozen_stages >= 0:
            self.conv1.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract maps.

        Args:
            x (Tensor): Images, (N, in_channels, H, W).

        Returns:
            tuple[Tensor, ...]: The maps of ``out_indices``.

        Raises:
            ValueError: If the images have another number of channels than the network.
        """
        check_image_channels(x, self.conv1.conv, self)
        maps = super().forward(x)
        return maps if isinstance(maps, tuple) else (maps,)  # mmseg's, of one index
