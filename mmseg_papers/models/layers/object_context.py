"""Object-contextual representations: regions gathered into vectors, vectors handed to pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.utils import SelfAttentionBlock
from torch import Tensor

from ...ops.batch_norm import is_batch_norm
from ...ops.plain_layers import is_hooked, is_plain_conv
from .conv_module import norm_and_activate


def gather_objects(features: Tensor, logits: Tensor) -> Tensor:
    """One vector a class: the mean of the pixels, weighted by how much they belong to the class.

    The weights are a soft-max over the *positions* of each class, as in the authors'
    ``SpatialGather_Module``; it is no soft-max over the classes (OCR paper, section 3.2).

    Args:
        features (Tensor): Pixel representations, (N, C, H, W).
        logits (Tensor): Coarse class logits, (N, K, H, W).

    Returns:
        Tensor: (N, C, K, 1).

    Raises:
        ValueError: If the two maps differ in size.
    """
    if features.shape[2:] != logits.shape[2:]:
        raise ValueError(
            f"the coarse logits must have the features' size {tuple(features.shape[2:])}, "
            f"got {tuple(logits.shape[2:])}"
        )
    weight = logits.flatten(2).softmax(dim=2)
    return torch.matmul(features.flatten(2), weight.transpose(1, 2).to(features)).unsqueeze(3)


class ObjectAttention(SelfAttentionBlock):
    """Each pixel's mixture of object vectors (``ObjectAttentionBlock2D``; OCR paper, section 3.2).

    The similarity of a pixel and an object is the product of their projections; a soft-max over the
    objects makes the weights of the mixture. The projection of the mixture back to ``in_channels``
    is applied to the K object vectors instead of the H x W pixels: the weights sum to 1, so both
    commute, batch norm in evaluation included. Any other norm, and a projection with hooks, is
    called on the pixels. Keys are those of ``mmseg``'s block.

    Args:
        in_channels (int): Channels of pixels, objects and result.
        channels (int): Channels of the projections ("key channels").
        scale (int): The pixels are max-pooled by it before they are projected, and the result is
            resized back, with ``align_corners=True`` in the published code. Default: 1.
        align_corners (bool): Of that resize. Default: True.
        norm_cfg (dict | None): Of the projections.
        act_cfg (dict | None): Of the projections.

    Raises:
        ValueError: If ``scale`` is no positive int.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        scale: int = 1,
        align_corners: bool = True,
        *,
        norm_cfg: dict | None,
        act_cfg: dict | None,
    ) -> None:
        if not isinstance(scale, int) or scale < 1:
            raise ValueError(f"scale must be an int of at least 1, got {scale!r}")
        super().__init__(
            key_in_channels=in_channels,
            query_in_channels=in_channels,
            channels=channels,
            out_channels=in_channels,
            share_key_query=False,
            query_downsample=None,
            key_downsample=None,
            key_query_num_convs=2,
            value_out_num_convs=1,
            key_query_norm=True,
            value_out_norm=True,
            matmul_norm=True,
            with_out=True,
            conv_cfg=None,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )
        self.scale = scale
        self.align_corners = align_corners

    def forward(self, pixels: Tensor, objects: Tensor) -> Tensor:
        """Mix the objects for every pixel.

        Args:
            pixels (Tensor): (N, in_channels, H, W).
            objects (Tensor): (N, in_channels, K, 1).

        Returns:
            Tensor: (N, in_channels, H, W).
        """
        pooled = F.max_pool2d(pixels, self.scale) if self.scale > 1 else pixels
        query = self.query_project(pooled).flatten(2)
        key = self.key_project(objects).flatten(2) * self.channels**-0.5
        weight = torch.matmul(key.transpose(1, 2), query).softmax(dim=1)  # (N, K, H W)
        out, value = self.out_project, self.value_project(objects)
        projects_objects = is_plain_conv(out.conv) and not is_hooked(out)
        # Statistics of a batch are those of the pixels, so in training the norm waits for them.
        norms_objects = (
            projects_objects and out.with_norm and is_batch_norm(out.norm) and not out.norm.training
        )
        if projects_objects:
            value = out.conv(value)
        if norms_objects:
            value = out.norm(value)
        context = torch.matmul(value.flatten(2), weight.to(value))
        context = context.unflatten(2, pooled.shape[2:])
        if not projects_objects:
            context = out(context)
        else:
            if out.with_norm and not norms_objects:
                context = out.norm(context)
            if out.with_activation:
                context = out.activate(context)
        if self.scale > 1:
            context = F.interpolate(
                context, pixels.shape[2:], mode="bilinear", align_corners=self.align_corners
            )
        return context


class SpatialOCR(ObjectAttention):
    """Pixels augmented by their mixture of object vectors (``SpatialOCR_Module``).

    The mixture and the pixel, (2 in_channels), are fused by a 1x1 conv, norm and activation; the
    conv runs on both halves without their concatenation. Keys are those of ``mmseg``'s
    ``ObjectAttentionBlock``. The authors' dropout after it is the head's.

    Args:
        in_channels (int): Channels of pixels and objects.
        channels (int): Channels of the projections.
        out_channels (int, optional): Channels of the result. Default: ``in_channels``.
        **kwargs: As for :class:`ObjectAttention`.
    """

    def __init__(
        self, in_channels: int, channels: int, out_channels: int | None = None, **kwargs
    ) -> None:
        super().__init__(in_channels, channels, **kwargs)
        self.bottleneck = ConvModule(
            2 * in_channels,
            in_channels if out_channels is None else out_channels,
            1,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )

    def forward(self, pixels: Tensor, objects: Tensor) -> Tensor:
        """Augment every pixel.

        Args:
            pixels (Tensor): (N, in_channels, H, W).
            objects (Tensor): (N, in_channels, K, 1).

        Returns:
            Tensor: (N, out_channels, H, W).
        """
        context = super().forward(pixels, objects)
        fuse = self.bottleneck
        if is_hooked(fuse) or not is_plain_conv(fuse.conv):
            return fuse(torch.cat([context, pixels], dim=1))
        of_context, of_pixels = fuse.conv.weight.split(pixels.shape[1], dim=1)
        y = F.conv2d(context, of_context, fuse.conv.bias)
        y = y.add_(F.conv2d(pixels, of_pixels))
        return norm_and_activate(fuse, y)
