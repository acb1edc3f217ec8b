"""DeepLabV3+'s decoder behind a pyramid that other branches share."""

from __future__ import annotations

from collections.abc import Sequence

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor

from ..layers import DeepLabV3PlusDecoder, InitialisedLast, require_plain, select_map


@MODELS.register_module()
class DeepLabV3PlusDecoderHead(InitialisedLast, BaseDecodeHead):
    """Decoder and classifier of DeepLabV3+ (arXiv:1802.02611).

    It reads what :class:`mmseg_papers.models.necks.ASPPNeck` gives. In DSRL the pyramid belongs
    to the encoder, which both super-resolution branches share.

    Args:
        in_channels (int): Channels of the pyramid. Default: 256.
        channels (int): Channels of the decoder's convs. Default: 256.
        c1_in_channels (int): Channels of the low-level map. Default: 256.
        c1_channels (int): Channels that it is reduced to. Default: 48.
        c1_index (int): Which map that is. Default: 0.
        separable (bool): Whether the 3x3 convs are depthwise separable. Default: False.
        dropout_ratios (Sequence[float]): Dropout after each of the two 3x3 convs. Default: (0.5,
            0.1), as in Dootmaan/DSRL.
        align_corners (bool): For all resizing. Default: True.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``: ``num_classes``, ``norm_cfg`` and so on.
    """

    def __init__(
        self,
        in_channels: int = 256,
        channels: int = 256,
        *,
        c1_in_channels: int = 256,
        c1_channels: int = 48,
        c1_index: int = 0,
        separable: bool = False,
        dropout_ratios: Sequence[float] = (0.5, 0.1),
        align_corners: bool = True,
        **kwargs,
    ) -> None:
        require_plain(kwargs, "conv_cfg")
        super().__init__(
            in_channels=in_channels,
            channels=channels,
            dropout_ratio=0,
            align_corners=align_corners,
            **kwargs,
        )
        self.c1_in_channels = c1_in_channels
        self.c1_index = c1_index
        self.decoder = DeepLabV3PlusDecoder(
            in_channels,
            c1_in_channels,
            c1_channels,
            (channels, channels),
            separable=separable,
            dropout_ratios=dropout_ratios,
            align_corners=align_corners,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Decode and classify.

        Args:
            inputs (Sequence[Tensor]): The neck's maps.

        Returns:
            Tensor: Logits, (N, num_classes, h, w), at the size of the low-level map.

        Raises:
            ValueError: If a map is missing or has other channels.
        """
        x = select_map(inputs, self.in_index, self.in_channels, self)
        low_level = select_map(inputs, self.c1_index, self.c1_in_channels, self, "c1_")
        return self.cls_seg(self.decoder(x, low_level))
