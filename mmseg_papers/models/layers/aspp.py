"""Atrous spatial pyramid pooling and the decoder that refines it, as DeepLab publishes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmseg.models.decode_heads.aspp_head import ASPPModule
from mmseg.models.decode_heads.sep_aspp_head import DepthwiseSeparableASPPModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from ...ops.constant_concat import conv_of_constant_concat
from ...ops.plain_layers import is_hooked, is_plain_conv
from .conv_module import norm_and_activate
from .initialised_last import InitialisedLast
from .output_stride import set_stride_and_rate, warn_of_dead_rates

#: The output stride that the rates of :class:`ASPP` are given for.
RATES_STRIDE = 16


class BranchProjection(ConvModule):
    """Conv, BN and ReLU over the concatenation of :class:`ASPP`'s branches, which is never built.

    Its input is the concatenation in its parts, the image-level branch first, or a whole map.
    Arguments are ``ConvModule``'s.
    """

    def forward(self, branches: Sequence[Tensor] | Tensor) -> Tensor:
        """Project.

        Args:
            branches (Sequence[Tensor] | Tensor): (N, C_0, 1, 1), or (N, C_0, H, 1) with one value
                a row, then (N, C_i, H, W); or all as one map, (N, C, H, W).

        Returns:
            Tensor: (N, out_channels, H, W).
        """
        if not isinstance(branches, (list, tuple)):
            return super().forward(branches)
        constant, *maps = branches
        if not is_plain_conv(self.conv):
            constant = constant.expand(-1, -1, *maps[0].shape[2:])
            return super().forward(torch.cat([constant, *maps], dim=1))
        x = conv_of_constant_concat(constant, maps, self.conv.weight, self.conv.bias)
        return norm_and_activate(self, x)


class ASPP(InitialisedLast):
    """Atrous spatial pyramid pooling with image-level features (arXiv:1706.05587, section 3.3).

    A 1x1 conv, 3x3 convs at several rates and the global mean through a 1x1 conv, each with BN
    and ReLU; their concatenation, image level first, is projected by a 1x1 conv with BN, ReLU and
    dropout. The separable form is DeepLabV3+'s (arXiv:1802.02611, section 3.1), with BN and ReLU
    after the depthwise convs too, as in the authors' code. The image-level branch is the same at
    every pixel, so the projection takes it as a bias of each image
    (:func:`mmseg_papers.ops.conv_of_constant_concat`), and the concatenation is never built.

    Submodules are called as in ``mmseg``'s ``ASPPHead``: ``image_pool``, ``aspp_modules``,
    ``bottleneck``. Batch norm of the image-level branch needs two images on a GPU in training.

    Args:
        in_channels (int): Channels of the backbone's map.
        channels (int): Channels of every branch and of the output. Default: 256.
        rates (Sequence[int]): Rates of the 3x3 convs at output stride 16; doubled at 8, halved at
            32. Default: (6, 12, 18).
        output_stride (int): Of the backbone. Default: 16.
        separable (bool): Whether the 3x3 convs are depthwise separable. Default: False.
        with_image_pool (bool): Whether there is an image-level branch. Default: True.
        pool_channels (int, optional): Channels of the image-level branch. Default: ``channels``.
        bottleneck_kernel (int, optional): Kernel of the projection: 1 as published, 3 as in
            ``mmseg``, None for none: the output is the concatenation. Default: 1.
        dropout_ratio (float): Dropout of single values after the projection. Default: 0.1.
        norm_cfg (dict, optional): Default: ``dict(type='BN')``.
        act_cfg (dict, optional): Default: ``dict(type='ReLU')``.
        init_cfg (dict, optional): Default: the authors' initialisation.

    Raises:
        ValueError: If a rate is below 2 or no whole number at ``output_stride``, or
            ``bottleneck_kernel`` is none of the above.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        output_stride: int = RATES_STRIDE,
        *,
        separable: bool = False,
        with_image_pool: bool = True,
        pool_channels: int | None = None,
        bottleneck_kernel: int | None = 1,
        dropout_ratio: float = 0.1,
        norm_cfg: dict | None = dict(type="BN"),  # noqa: B006  (OpenMMLab's convention)
        act_cfg: dict | None = dict(type="ReLU"),  # noqa: B006
        init_cfg: dict | None = None,
    ) -> None:
        if bottleneck_kernel not in (1, 3, None):
            raise ValueError(f"bottleneck_kernel must be 1, 3 or None, got {bottleneck_kernel!r}")
        if min(rates, default=2) < 2:
            raise ValueError(
                f"rates must be at least 2 (the 1x1 branch is there anyway), got {tuple(rates)}"
            )
        super().__init__(init_cfg)
        pool_channels = (pool_channels or channels) if with_image_pool else 0
        cfgs = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.rates = tuple(rates)
        self.image_pool = None
        if with_image_pool:
            self.image_pool = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), ConvModule(in_channels, pool_channels, 1, **cfgs)
            )
        branches = DepthwiseSeparableASPPModule if separable else ASPPModule
        self.aspp_modules = branches(
            dilations=(1, *rates), in_channels=in_channels, channels=channels, conv_cfg=None, **cfgs
        )
        self.concat_channels = pool_channels + (1 + len(rates)) * channels
        self.bottleneck = None
        if bottleneck_kernel is not None:
            self.bottleneck = BranchProjection(
                self.concat_channels,
                channels,
                bottleneck_kernel,
                padding=bottleneck_kernel // 2,
                **cfgs,
            )
        self.dropout = nn.Dropout(dropout_ratio) if dropout_ratio else nn.Identity()
        self.set_output_stride(output_stride)

    def set_output_stride(self, output_stride: int) -> None:
        """Scale the rates for a backbone of another output stride; weights stay as they are.

        Args:
            output_stride (int): Such as 8, 16 or 32.

        Raises:
            ValueError: If a rate is then no whole number of at least 1.
        """
        if output_stride < 1 or any(rate * RATES_STRIDE % output_stride for rate in self.rates):
            raise ValueError(
                f"rates {self.rates} at output stride {RATES_STRIDE} are no whole numbers at "
                f"output_stride={output_stride}; give others"
            )
        self.output_stride = output_stride
        self.aspp_modules.dilations = (1, *self.scaled_rates)
        for branch, rate in zip(list(self.aspp_modules)[1:], self.scaled_rates, strict=True):
            conv = getattr(branch, "depthwise_conv", branch).conv
            set_stride_and_rate(conv, 1, rate)

    @property
    def scaled_rates(self) -> tuple[int, ...]:
        """Rates of the 3x3 convs at the present output stride."""
        return tuple(rate * RATES_STRIDE // self.output_stride for rate in self.rates)

    def branches(self, x: Tensor) -> list[Tensor]:
        """The parts of the concatenation.

        Args:
            x (Tensor): (N, in_channels, h, w).

        Returns:
            list[Tensor]: The image-level branch if there is one, (N, pool_channels, 1, 1); the
            others, (N, channels, h, w) each.

        Raises:
            ValueError: If batch norm of the image-level branch is to be trained on one image.
        """
        if self.training:
            self._check(x)
        pooled = [] if self.image_pool is None else [self.image_pool(x)]
        return [*pooled, *self.aspp_modules(x)]

    def forward(self, x: Tensor) -> Tensor:
        """Pool at all rates and project.

        Args:
            x (Tensor): (N, in_channels, h, w).

        Returns:
            Tensor: (N, channels, h, w); without a projection (N, concat_channels, h, w).
        """
        branches = self.branches(x)
        # Hooks, and checkpointing among them, expect a map.
        is_whole = self.bottleneck is None or is_hooked(self.bottleneck)
        if is_whole or self.image_pool is None:
            branches = torch.cat([b.expand(-1, -1, *x.shape[2:]) for b in branches], dim=1)
        return branches if self.bottleneck is None else self.dropout(self.bottleneck(branches))

    def init_weights(self) -> None:
        """Initialise as the authors, unless ``init_cfg`` says otherwise."""
        is_first = not self.is_init
        super().init_weights()
        if is_first and self.init_cfg is None:
            init_convs(self)

    def _check(self, x: Tensor) -> None:
        norms = [] if self.image_pool is None else self.image_pool.modules()
        needs_batch = any(
            isinstance(m, _BatchNorm) and not isinstance(m, SyncBatchNorm) and m.training
            for m in norms
        )
        if len(x) == 1 and needs_batch:
            raise ValueError(
                "batch norm of the image-level branch gets one value a channel from one image; "
                "train with at least 2 images on a GPU, SyncBN, norm_eval=True or "
                "with_image_pool=False"
            )
        warn_of_dead_rates(x, self.scaled_rates)


class DeepLabV3PlusDecoder(InitialisedLast):
    """DeepLabV3+'s decoder (arXiv:1802.02611, section 3.1 and table 2).

    The low-level map is reduced by a 1x1 conv, the encoder's map resized to its size; 3x3 convs
    refine their concatenation, encoder first. Every conv has BN and ReLU. The authors' published
    ResNet rows use dense convs, their Xception rows depthwise separable ones with BN and ReLU
    after both halves.

    Args:
        in_channels (int): Channels of the encoder's map. Default: 256.
        c1_in_channels (int): Channels of the low-level map. Default: 256.
        c1_channels (int): Channels that it is reduced to. Default: 48.
        channels (Sequence[int]): Output channels of the 3x3 convs. Default: (256, 256).
        separable (bool): Whether the 3x3 convs are depthwise separable. Default: True.
        dropout_ratios (Sequence[float], optional): Dropout of single values after each of them.
            Default: none.
        align_corners (bool): For resizing the encoder's map. Default: True.
        norm_cfg (dict, optional): Default: ``dict(type='BN')``.
        act_cfg (dict, optional): Default: ``dict(type='ReLU')``.
        init_cfg (dict, optional): Default: the authors' initialisation.

    Raises:
        ValueError: If ``dropout_ratios`` has another length than ``channels``.
    """

    def __init__(
        self,
        in_channels: int = 256,
        c1_in_channels: int = 256,
        c1_channels: int = 48,
        channels: Sequence[int] = (256, 256),
        *,
        separable: bool = True,
        dropout_ratios: Sequence[float] | None = None,
        align_corners: bool = True,
        norm_cfg: dict | None = dict(type="BN"),  # noqa: B006  (OpenMMLab's convention)
        act_cfg: dict | None = dict(type="ReLU"),  # noqa: B006
        init_cfg: dict | None = None,
    ) -> None:
        if dropout_ratios is not None and len(dropout_ratios) != len(channels):
            raise ValueError(
                f"dropout_ratios must have a value for each of channels={tuple(channels)}, got "
                f"{tuple(dropout_ratios)}"
            )
        super().__init__(init_cfg)
        cfgs = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.align_corners = align_corners
        self.c1_bottleneck = ConvModule(c1_in_channels, c1_channels, 1, **cfgs)
        conv = DepthwiseSeparableConvModule if separable else ConvModule
        widths = [in_channels + c1_channels, *channels]
        self.convs = nn.Sequential(
            *(conv(*widths[i : i + 2], 3, padding=1, **cfgs) for i in range(len(channels)))
        )
        self.dropouts = nn.ModuleList(
            nn.Dropout(ratio) if ratio else nn.Identity()
            for ratio in dropout_ratios or [0.0] * len(channels)
        )

    def forward(self, x: Tensor, low_level: Tensor) -> Tensor:
        """Refine the encoder's map.

        Args:
            x (Tensor): (N, in_channels, h, w).
            low_level (Tensor): (N, c1_in_channels, H, W).

        Returns:
            Tensor: (N, channels[-1], H, W).
        """
        low_level = self.c1_bottleneck(low_level)
        x = F.interpolate(x, low_level.shape[2:], mode="bilinear", align_corners=self.align_corners)
        x = torch.cat([x, low_level], dim=1)
        for conv, dropout in zip(self.convs, self.dropouts, strict=True):
            x = dropout(conv(x))
        return x

    def init_weights(self) -> None:
        """Initialise as the authors, unless ``init_cfg`` says otherwise."""
        is_first = not self.is_init
        super().init_weights()
        if is_first and self.init_cfg is None:
            init_convs(self)


def init_convs(module: nn.Module) -> None:
    """The authors' initialisation of what follows their backbones.

    Dense convs are drawn as Glorot and Bengio's, the depthwise and pointwise halves of separable
    ones from truncated normals of standard deviation 0.33 and 0.06.

    Args:
        module (nn.Module): All of its convs are drawn anew.
    """
    pointwise = {
        m.pointwise_conv.conv
        for m in module.modules()
        if isinstance(m, DepthwiseSeparableConvModule)
    }
    for conv in module.modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        if conv.groups > 1 or conv in pointwise:
            std = 0.33 if conv.groups > 1 else 0.06
            nn.init.trunc_normal_(conv.weight, std=std, a=-2 * std, b=2 * std)
        else:
            nn.init.xavier_uniform_(conv.weight)
