"""MobileNetV2 whose first block has its 1x1 expansion, too."""

from __future__ import annotations

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from .complete_mobilenet_v2 import CompleteMobileNetV2


class ExpandedMobileNetV2(CompleteMobileNetV2):
    """MobileNetV2 with an expansion in its first block, as much PyTorch code has it.

    ``mmseg``'s leaves the 1x1 expansion out where its ratio is 1; here a 32 -> 32 conv is there.
    ImageNet weights of ``mmseg``'s (``mmcls://mobilenet_v2``) load: the missing expansion becomes
    the identity, so that stem and expansion compute the ReLU6 that those weights were trained for.

    Args:
        **kwargs: As :class:`CompleteMobileNetV2`.
    """

    def make_layer(
        self, out_channels: int, num_blocks: int, stride: int, dilation: int, expand_ratio: int
    ) -> nn.Sequential:
        """A stage of inverted residuals, all with their expansion."""
        width = self.in_channels
        stage = super().make_layer(out_channels, num_blocks, stride, dilation, expand_ratio)
        if expand_ratio == 1:
            options = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
            stage[0].conv.insert(0, ConvModule(width, width, 1, **options))
        return stage

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
