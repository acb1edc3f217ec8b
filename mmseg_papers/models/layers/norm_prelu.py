"""Normalisation and PReLU, ESPNetv2's pair after additions and concatenations."""

from __future__ import annotations

from mmcv.cnn import build_norm_layer
from torch import nn


class NormPReLU(nn.Sequential):
    """A norm layer followed by a PReLU with a slope for each channel.

    Args:
        channels (int): Of the map.
        norm_cfg (dict): Such as ``dict(type='BN')``.
    """

    def __init__(self, channels: int, norm_cfg: dict) -> None:
        super().__init__(build_norm_layer(norm_cfg, channels)[1], nn.PReLU(channels))
