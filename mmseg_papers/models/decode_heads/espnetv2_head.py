"""ESPNetv2's decoder for segmentation, as in EdgeNets."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...ops import adaptive_means, upsample_add
from ..layers import NormPReLU, require_plain

#: Relative sizes at which the pyramid convolves, as fractions, and the least size.
SCALES = ((2, 1), (3, 2), (1, 1), (1, 2), (1, 10))
MIN_SIZE = 5
#: Channels of the decoder at strides 16, 8 and 4.
WIDTHS = (64, 48, 32)


class EfficientPyramidPool(BaseModule):
    """Depthwise convolutions at five relative sizes, mixed (EdgeNets' ``EfficientPyrPool``).

    Args:
        in_channels (int): Channels of the map.
        channels (int): Channels inside.
        out_channels (int, optional): Channels of a last 1x1 conv, norm and PReLU. Default: none of
            these; the result has ``channels``.
        norm_cfg (dict): Default: ``dict(type='BN')``.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int | None = None,
        norm_cfg: dict = dict(type="BN"),  # noqa: B006  (OpenMMLab's convention)
    ) -> None:
        super().__init__()
        act_cfg = dict(type="PReLU", num_parameters=channels)
        concat_channels = len(SCALES) * channels
        self.reduce = ConvModule(in_channels, channels, 1, norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.pyramid = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False) for _ in SCALES
        )
        self.norm_act = NormPReLU(concat_channels, norm_cfg)
        self.mix = ConvModule(
            concat_channels,
            channels,
            3,
            padding=1,
            groups=channels,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )
        self.expand = nn.Identity()
        if out_channels is not None:
            self.expand = ConvModule(
                channels,
                out_channels,
                1,
                norm_cfg=norm_cfg,
                act_cfg=dict(type="PReLU", num_parameters=out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Mix what is seen at several sizes.

        Args:
            x (Tensor): (N, in_channels, H, W).

        Returns:
            Tensor: (N, out_channels or channels, H, W).
        """
        x = self.reduce(x)
        maps = [
            self._at_scale(x, conv, scale) for conv, scale in zip(self.pyramid, SCALES, strict=True)
        ]
        y = self.norm_act(torch.cat(maps, dim=1))
        # Views, as PyTorch 2.1 has no derivative of F.channel_shuffle.
        shuffled = y.unflatten(1, (len(SCALES), -1)).transpose(1, 2).flatten(1, 2)
        return self.expand(self.mix(shuffled))

    @staticmethod
    def _at_scale(x: Tensor, conv: nn.Conv2d, scale: tuple[int, int]) -> Tensor:
        full = x.shape[2:]
        times, over = scale
        # Rounded up; in whole numbers, which an exported graph computes as Python does.
        lengths = [(length * times + over - 1) // over for length in full]
        if torch.jit.is_tracing():  # they are tensors
            lengths = list(map(int, lengths))
        size = [torch.sym_max(length, MIN_SIZE) for length in lengths]
        if times == over:
            return conv(x)
        if times < over:
            return _resize(conv(adaptive_means(x, size)), full)
        return adaptive_means(conv(_resize(x, size)), full)


class EfficientPointwiseConv(BaseModule):
    """A grouped conv whose output channels are weighted by the map's mean (``EfficientPWConv``).

    Args:
        in_channels (int): Channels of the map.
        out_channels (int): Channels of the result.
        norm_cfg (dict): Default: ``dict(type='BN')``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_cfg: dict = dict(type="BN"),  # noqa: B006
    ) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.expand = ConvModule(
            in_channels,
            out_channels,
            3,
            padding=1,
            groups=gcd(in_channels, out_channels),
            norm_cfg=norm_cfg,
            act_cfg=dict(type="PReLU", num_parameters=out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Change the number of channels.

        Args:
            x (Tensor): (N, in_channels, H, W).

        Returns:
            Tensor: (N, out_channels, H, W).
        """
        return self.expand(x) * self.weigh(x.mean((2, 3), keepdim=True)).sigmoid()


@MODELS.register_module()
class ESPNetv2Head(BaseDecodeHead):
    """ESPNetv2's decoder, from stride 16 up to logits at stride 2.

    After EdgeNets' ``ESPNetv2Segmentation``, whose decoder the DSRL authors keep.
    A map is resized to the encoder's next one, which for sizes that are multiples of 16 doubles it
    as in the authors' code; other sizes work here, too.

    Args:
        in_channels (Sequence[int]): Channels of the encoder's maps of strides 2, 4, 8 and 16.
        num_classes (int): Classes.
        void_class (bool): Whether the logits have one more channel, for pixels without a class, as
            in the authors' Cityscapes weights. It takes part in the soft-max and may be predicted.
            Default: False.
        in_index (Sequence[int]): Which maps of the backbone. Default: (0, 1, 2, 3).
        align_corners (bool): For resizing between levels and to the image. Inside the pyramids it
            is True, as the authors'. Default: True.
        norm_cfg (dict): Default: ``dict(type='BN')``.
        init_cfg (dict | list[dict], optional): Default: convs as He et al. (fan out), as the
            authors do.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``.

    Raises:
        ValueError: If there are not four maps, or fewer than two outputs.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        void_class: bool = False,
        in_index: Sequence[int] = (0, 1, 2, 3),
        align_corners: bool = True,
        norm_cfg: dict = dict(type="BN"),  # noqa: B006
        init_cfg: dict | list[dict] | None = dict(  # noqa: B006
            type="Kaiming", layer="Conv2d", mode="fan_out"
        ),
        **kwargs,
    ) -> None:
        if len(in_channels) != 4 or len(in_index) != 4:
            raise ValueError(
                "in_channels and in_index must name the maps of strides 2, 4, 8 and 16, got "
                f"{tuple(in_channels)} and {tuple(in_index)}"
            )
        outputs = num_classes + void_class
        if outputs < 2:
            raise ValueError(
                "num_classes, with the void class, must be at least 2, since the decoder has half "
                f"as many channels; got {outputs}. Count the background as a class"
            )
        channels = min(outputs // 2, 16)
        require_plain(kwargs, "conv_cfg", "act_cfg")
        super().__init__(
            in_channels=in_channels,
            channels=channels,
            num_classes=outputs,
            in_index=in_index,
            input_transform="multiple_select",
            align_corners=align_corners,
            norm_cfg=norm_cfg,
            dropout_ratio=0,
            init_cfg=init_cfg,
            **kwargs,
        )
        self.num_classes = num_classes  # out_channels counts the void class
        #: Numbers of channels that follow the number of classes.
        self.class_channels = (outputs, channels, len(SCALES) * channels)
        self.pools = nn.ModuleList(
            EfficientPyramidPool(width, channels, out, norm_cfg)
            for width, out in zip((in_channels[3], *WIDTHS), (*WIDTHS, None), strict=True)
        )
        self.skips = nn.ModuleList(
            EfficientPointwiseConv(in_channels[level], width, norm_cfg)
            for level, width in zip((2, 1, 0), WIDTHS, strict=True)
        )
        self.norm_acts = nn.ModuleList(NormPReLU(width, norm_cfg) for width in WIDTHS)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Decode.

        Args:
            inputs (Sequence[Tensor]): The backbone's maps.

        Returns:
            Tensor: Logits (N, num_classes + void_class, H / 2, W / 2).
        """
        *maps, x = self._transform_inputs(inputs)
        x = self.pools[0](x)
        for pool, skip, norm_act, low in zip(
            self.pools[1:], self.skips, self.norm_acts, reversed(maps), strict=True
        ):
            x = pool(norm_act(upsample_add([skip(low), x], align_corners=self.align_corners)))
        return self.cls_seg(x)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=True)
