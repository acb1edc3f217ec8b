"""DSRL's super-resolution of logits: from the decode head's to twice the network's input."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import build_activation_layer, build_norm_layer
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class DeconvSSSR(BaseModule):
    """Transposed convolutions, each with norm and activation, that double the logits.

    Paper: deconvolutions, BN and ReLU; the authors' weights have PReLU, which we follow. The logits
    are the output of the last activation. The published FLOPs leave these layers out.

    Args:
        channels (int): Channels of the logits, ``decode_head.out_channels``.
        num_deconvs (int): Doublings; 2 from stride 2 to twice the input. Default: 2.
        norm_cfg (dict): Default: ``dict(type='BN')``.
        act_cfg (dict): Default: ``dict(type='PReLU')``, with a slope for each channel;
            ``dict(type='ReLU')`` is the paper's.

    Raises:
        ValueError: If ``num_deconvs`` is below 1.
    """

    def __init__(
        self,
        channels: int,
        num_deconvs: int = 2,
        norm_cfg: dict = dict(type="BN"),  # noqa: B006  (OpenMMLab's convention)
        act_cfg: dict = dict(type="PReLU"),  # noqa: B006  (OpenMMLab's convention)
    ) -> None:
        if num_deconvs < 1:
            raise ValueError(f"num_deconvs must be at least 1, got {num_deconvs}")
        super().__init__()
        if act_cfg["type"] == "PReLU":
            act_cfg = {"num_parameters": channels, **act_cfg}
        self.deconvs = nn.Sequential(
            *(
                nn.Sequential(
                    nn.ConvTranspose2d(channels, channels, 3, 2, 1, output_padding=1, bias=False),
                    build_norm_layer(norm_cfg, channels)[1],
                    build_activation_layer(act_cfg),
                )
                for _ in range(num_deconvs)
            )
        )

    def forward(self, logits: Tensor, input_size: Sequence[int]) -> Tensor:
        """Super-resolve.

        Args:
            logits (Tensor): (N, channels, h, w).
            input_size (Sequence[int]): Height and width of the network's input; not needed here.

        Returns:
            Tensor: (N, channels, 2^num_deconvs h, 2^num_deconvs w).
        """
        return self.deconvs(logits)


@MODELS.register_module()
class BilinearSSSR(BaseModule):
    """Two bilinear resizes, to the network's input and to twice that, without parameters.

    As in the re-implementation Dootmaan/DSRL. Two steps are not one: the logits differ. Without
    any SSSR layer the segmentor resizes once, which its losses and label maps fuse.

    Args:
        align_corners (bool): As for ``torch.nn.functional.interpolate``. Default: True.
        channels (int, optional): Channels of the logits; not needed here.
    """

    def __init__(self, align_corners: bool = True, channels: int | None = None) -> None:
        super().__init__()
        self.align_corners = align_corners

    def forward(self, logits: Tensor, input_size: Sequence[int]) -> Tensor:
        """Super-resolve.

        Args:
            logits (Tensor): (N, K, h, w).
            input_size (Sequence[int]): Height and width of the network's input.

        Returns:
            Tensor: (N, K, 2 H, 2 W) for an input of H x W.
        """
        for factor in (1, 2):
            size = [factor * length for length in input_size]
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=self.align_corners)
        return logits
