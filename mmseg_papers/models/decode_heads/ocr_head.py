"""Heads that augment pixels by the objects they belong to (OCR, ASP-OCR)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.cascade_decode_head import BaseCascadeDecodeHead
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers import (
    InitialisedLast,
    SpatialOCR,
    convolve_concat,
    gather_objects,
    require_plain,
    select_map,
    select_streams,
)
from ..layers.object_context import ObjectAttention


class _ObjectHead(InitialisedLast, BaseCascadeDecodeHead):
    """What the heads share: which maps they read, and coarse logits from the stage before."""

    def __init__(
        self,
        in_channels: int | Sequence[int],
        *,
        in_index: int | Sequence[int] | None = None,
        **kwargs,
    ) -> None:
        require_plain(kwargs, "conv_cfg")
        is_several = isinstance(in_channels, (list, tuple))
        if in_index is None:
            in_index = tuple(range(len(in_channels))) if is_several else -1
        super().__init__(
            in_channels=in_channels,
            in_index=in_index,
            input_transform="resize_concat" if is_several else None,
            **kwargs,
        )
        self.stream_channels = tuple(in_channels) if is_several else (in_channels,)

    def _streams(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if isinstance(self.in_index, int):
            return [select_map(inputs, self.in_index, self.in_channels, self)]
        return select_streams(inputs, self.in_index, self.stream_channels, self)


@MODELS.register_module()
class ObjectContextHead(_ObjectHead):
    """OCR head (arXiv:1909.11065; the authors' ``seg_hrnet_ocr``, openseg's ``SpatialOCRNet``).

    The last stage of a ``CascadeEncoderDecoder`` whose first gives the coarse logits: a 3x3 conv
    makes pixel representations, the logits gather them into one vector a class, attention hands
    the vectors back to the pixels, and a 1x1 conv classifies.

    Keys are those of ``mmseg``'s ``OCRHead``, with whose scale 1 the result agrees. What differs:
    ``scale`` works (``mmseg``'s crashes above 1, and takes the number as a temperature of the
    gathering, too); the streams are not concatenated; the projection of the context acts on K
    vectors; and the 1024-channel concatenation of context and pixels is not built.

    Args:
        in_channels (int | Sequence[int]): Channels of the map(s) that are read.
        channels (int): Channels of the pixel representations. Default: 512.
        ocr_channels (int): Channels of queries, keys and values. Default: 256.
        scale (int): Down-sampling of the queries; every published config has 1. Default: 1.
        in_index (int | Sequence[int], optional): Which map(s). Default: all for a sequence of
            ``in_channels``, else the last.
        dropout_ratio (float): Of the channels before the classifier. Default: 0.05.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``.

    Raises:
        ValueError: If ``scale`` is no positive int or ``conv_cfg`` asks for another kind of
            convolution.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        channels: int = 512,
        *,
        ocr_channels: int = 256,
        scale: int = 1,
        dropout_ratio: float = 0.05,
        **kwargs,
    ) -> None:
        super().__init__(
            in_channels=in_channels, channels=channels, dropout_ratio=dropout_ratio, **kwargs
        )
        options = dict(norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        self.object_context_block = SpatialOCR(
            channels, ocr_channels, scale=scale, align_corners=self.align_corners, **options
        )
        self.bottleneck = ConvModule(self.in_channels, channels, 3, padding=1, **options)

    def forward(self, inputs: Sequence[Tensor], prev_output: Tensor) -> Tensor:
        """Class logits.

        Args:
            inputs (Sequence[Tensor]): The backbone's maps.
            prev_output (Tensor): Coarse logits at the size of the first map read, (N, K, H, W).

        Returns:
            Tensor: (N, K, H, W).
        """
        pixels = convolve_concat(self.bottleneck, self._streams(inputs), self.align_corners)
        objects = gather_objects(pixels, prev_output)
        return self.cls_seg(self.object_context_block(pixels, objects))


class ASPOCR(nn.Module):
    """Five parallel views of a map, one of them of its objects (``SpatialOCR_ASP_Module``).

    (a) a 3x3 conv, whose result is gathered into objects and handed back by attention (without the
    pixels themselves); (b) a 1x1 conv; (c) to (e) 3x3 convs of rising dilation. A 1x1 conv fuses
    the five. The authors' dropout after it is the head's.

    Args:
        in_channels (int): Channels of the input, of several maps together.
        channels (int): Channels of each view; the attention's projections have half as many.
        out_channels (int): Channels of the result.
        dilations (Sequence[int]): Of views (c) to (e).
        norm_cfg (dict | None): Norm after every conv.
        act_cfg (dict | None): Activation after every conv.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        dilations: Sequence[int],
        norm_cfg: dict | None,
        act_cfg: dict | None,
    ) -> None:
        super().__init__()
        options = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.pixel_conv = ConvModule(in_channels, channels, 3, padding=1, **options)
        self.object_context_block = ObjectAttention(channels, channels // 2, **options)
        self.branches = nn.ModuleList([ConvModule(in_channels, channels, 1, **options)])
        for dilation in dilations:
            self.branches.append(
                ConvModule(in_channels, channels, 3, padding=dilation, dilation=dilation, **options)
            )
        views = 1 + len(self.branches)
        self.bottleneck = ConvModule(views * channels, out_channels, 1, **options)

    def forward(self, streams: Sequence[Tensor], logits: Tensor, align_corners: bool) -> Tensor:
        """Fuse the views.

        Args:
            streams (Sequence[Tensor]): Maps (N, C_r, H_r, W_r), read as one at the first's size.
            logits (Tensor): Coarse class logits, (N, K, H_0, W_0).
            align_corners (bool): Of resizing the maps.

        Returns:
            Tensor: (N, out_channels, H_0, W_0).
        """
        pixels = convolve_concat(self.pixel_conv, streams, align_corners)
        views = [self.object_context_block(pixels, gather_objects(pixels, logits))]
        views += [convolve_concat(branch, streams, align_corners) for branch in self.branches]
        return self.bottleneck(torch.cat(views, dim=1))


@MODELS.register_module()
class ASPOCRHead(_ObjectHead):
    """ASP-OCR head: objects as one branch of an atrous pyramid (openseg.pytorch's ``*_ASPOCR``).

    The last stage of a ``CascadeEncoderDecoder`` whose first gives the coarse logits.

    Args:
        in_channels (int | Sequence[int]): Channels of the map(s) that are read.
        channels (int): Channels of the fused result. Default: 256.
        asp_channels (int): Channels of each branch. Default: 256.
        dilations (Sequence[int]): Of the 3x3 branches: 12, 24, 36 at stride 8 and twice that at
            HRNet's stride 4. Default: (24, 48, 72).
        in_index (int | Sequence[int], optional): Which map(s). Default: all for a sequence of
            ``in_channels``, else the last.
        dropout_ratio (float): Of the channels before the classifier. Default: 0.1.
        **kwargs: As ``mmseg``'s ``BaseDecodeHead``.

    Raises:
        ValueError: If ``dilations`` are not positive or ``conv_cfg`` asks for another kind of
            convolution.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        channels: int = 256,
        *,
        asp_channels: int = 256,
        dilations: Sequence[int] = (24, 48, 72),
        dropout_ratio: float = 0.1,
        **kwargs,
    ) -> None:
        if len(dilations) == 0 or min(dilations) < 1:
            raise ValueError(f"dilations must be positive ints, got {tuple(dilations)}")
        super().__init__(
            in_channels=in_channels, channels=channels, dropout_ratio=dropout_ratio, **kwargs
        )
        self.asp_ocr = ASPOCR(
            self.in_channels,
            asp_channels,
            channels,
            dilations,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )

    def forward(self, inputs: Sequence[Tensor], prev_output: Tensor) -> Tensor:
        """Class logits.

        Args:
            inputs (Sequence[Tensor]): The backbone's maps.
            prev_output (Tensor): Coarse logits at the size of the first map read, (N, K, H, W).

        Returns:
            Tensor: (N, K, H, W).
        """
        streams = self._streams(inputs)
        return self.cls_seg(self.asp_ocr(streams, prev_output, self.align_corners))
