"""MobileNetV2 as the authors of DenseASPP dilate it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.utils import InvertedResidual
from mmseg.registry import MODELS
from torch import Tensor, nn

from .complete_mobilenet_v2 import CompleteMobileNetV2

#: output stride -> (strides, dilations) of the seven stages
OUTPUT_STRIDES = {
    8: ((1, 2, 2, 1, 1, 1, 1), (1, 1, 1, 2, 2, 2, 2)),
    16: ((1, 2, 2, 2, 1, 1, 1), (1, 1, 1, 1, 1, 1, 1)),
}


@MODELS.register_module()
class DilatedMobileNetV2(CompleteMobileNetV2):
    """MobileNetV2 (arXiv:1801.04381) in the authors' DenseASPP code.

    ``mmseg``'s ``MobileNetV2`` with four differences: the first inverted residual keeps its 1x1
    expansion (32 -> 32), the stem has a ReLU instead of ReLU6, *every* block of a stage is dilated
    (``mmseg``: the first), and the last two stages use dilation 2 (usual: 4). With
    ``output_stride=16`` the last map is up-sampled by 2, so that the head works at 1/8; the
    authors' code means to and does not.

    ImageNet weights of ``mmseg``'s MobileNetV2 (``mmcls://mobilenet_v2``) load: the first block's
    missing expansion becomes the identity, so that stem and expansion compute ReLU6(ReLU(x)) =
    ReLU6(x), exactly what those weights were trained for.

    Args:
        output_stride (int): 8 or 16. Default: 8.
        **kwargs: As :class:`CompleteMobileNetV2`, except ``strides`` and ``dilations``:
            ``out_indices`` (stages, default (1, 2, 4, 6)), ``norm_cfg``, ``norm_eval``,
            ``frozen_stages``, ``init_cfg`` and so on.

    Raises:
        ValueError: If ``output_stride`` is neither 8 nor 16.
    """

    def __init__(self, output_stride: int = 8, **kwargs) -> None:
        if output_stride not in OUTPUT_STRIDES:
            raise ValueError(
                f"output_stride must be one of {', '.join(map(str, OUTPUT_STRIDES))}, "
                f"got {output_stride!r}"
            )
        strides, dilations = OUTPUT_STRIDES[output_stride]
        super().__init__(strides=strides, dilations=dilations, **kwargs)
        self.output_stride = output_stride
        self.conv1.activate = nn.ReLU(inplace=True)

    def make_layer(
        self, out_channels: int, num_blocks: int, stride: int, dilation: int, expand_ratio: int
    ) -> nn.Sequential:
        """A stage of inverted residuals, all dilated, all with their expansion."""
        options = dict(norm_cfg=self.norm_cfg, conv_cfg=self.conv_cfg, act_cfg=self.act_cfg)
        blocks = []
        for i in range(num_blocks):
            block = InvertedResidual(
                self.in_channels,
                out_channels,
                stride if i == 0 else 1,
                expand_ratio=expand_ratio,
                dilation=dilation,
                with_cp=self.with_cp,
                **options,
            )
            if expand_ratio == 1:
                expand = ConvModule(self.in_channels, self.in_channels, 1, **options)
                block.conv = nn.Sequential(expand, *block.conv)
            blocks.append(block)
            self.in_channels = out_channels
        return nn.Sequential(*blocks)

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

    def rename_keys(self, state_dict: dict[str, Tensor], prefix: str) -> None:
        """Add the identity to weights without the first block's expansion, in place.

        Args:
            state_dict (dict[str, Tensor]): Of a model.
            prefix (str): What names of this backbone's begin with.
        """
        first = f"{prefix}layer1.0.conv."
        if f"{first}1.conv.weight" in state_dict and f"{first}2.conv.weight" not in state_dict:
            for key in sorted((k for k in state_dict if k.startswith(first)), reverse=True):
                index, name = key[len(first) :].split(".", 1)
                state_dict[f"{first}{int(index) + 1}.{name}"] = state_dict.pop(key)
            expand = self.layer1[0].conv[0]
            channels, eps = expand.conv.in_channels, expand.bn.eps
            identity = {
                "conv.weight": torch.eye(channels)[:, :, None, None],
                "bn.weight": torch.ones(channels),
                "bn.bias": torch.zeros(channels),
                "bn.running_mean": torch.zeros(channels),
                "bn.running_var": torch.full((channels,), 1 - eps),
                "bn.num_batches_tracked": torch.tensor(0),
            }
            state_dict.update({f"{first}0.{name}": value for name, value in identity.items()})

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        self.rename_keys(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
