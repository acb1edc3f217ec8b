"""DSRL's single-image super-resolution: the branch that exists in training only."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...ops import Conv1x1OfUpsampledConcat
from ...ops.precision import accumulation_dtype
from ..layers import DeepLabV3PlusDecoder, select_map, select_streams

UPSAMPLERS = ("espcn", "deconv")
#: Channels that several maps are mixed to.
CHANNELS = 64


@MODELS.register_module()
class SISRHead(BaseModule):
    """Reconstruct the full-size image from the encoder's features (DSRL, SISR branch).

    ``upsampler='espcn'`` is the paper's (after Shi et al. 2016): two convs with tanh, a conv to
    3 r^2 channels and pixel shuffle. ``'deconv'`` are transposed convs with residual blocks, from
    the re-implementation Dootmaan/DSRL. The target is the normalised image, so the output is
    neither squashed nor clamped. Which features feed the branch is not known from the paper; here
    it is one map, or several mixed by a 1x1 conv at the size of the first.

    Args:
        in_channels (int | Sequence[int]): Channels of the map or maps.
        in_index (int | Sequence[int]): Which maps of the backbone or neck. Default: -1.
        upsampler (str): ``'espcn'`` or ``'deconv'``. Default: ``'espcn'``.
        scale_factor (int): Of the up-sampling; the features are resized to the image's size over
            this where they have another. ``'deconv'`` knows 8 only. Default: 8, for features of
            stride 4 of the half-size input.
        image_channels (int): Channels of the image. Default: 3.
        align_corners (bool): For resizing features. Default: True.
        loss_weight (float): Of the mean squared error, w1 in the paper. Default: 0.1.
        init_cfg (dict | list[dict], optional): Default: ESPCN's.

    Raises:
        ValueError: If ``upsampler`` or ``scale_factor`` is not as above, or ``in_channels`` and
            ``in_index`` do not go together.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        in_index: int | Sequence[int] = -1,
        *,
        upsampler: str = "espcn",
        scale_factor: int = 8,
        image_channels: int = 3,
        align_corners: bool = True,
        loss_weight: float = 0.1,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if upsampler not in UPSAMPLERS:
            raise ValueError(f"upsampler must be one of {', '.join(UPSAMPLERS)}, got {upsampler!r}")
        if upsampler == "deconv" and scale_factor != 8:
            raise ValueError(f"scale_factor must be 8 for upsampler='deconv', got {scale_factor}")
        if scale_factor < 1:
            raise ValueError(f"scale_factor must be at least 1, got {scale_factor}")
        several = not isinstance(in_channels, int)
        if several != (not isinstance(in_index, int)) or (
            several and len(in_channels) != len(in_index)
        ):
            raise ValueError(
                "in_channels and in_index must be two ints or two lists of one length, got "
                f"{in_channels!r} and {in_index!r}"
            )
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.in_index = in_index
        self.scale_factor = scale_factor
        self.align_corners = align_corners
        self.loss_weight = loss_weight
        self.mix = None
        if several:
            self.mix = Conv1x1OfUpsampledConcat(in_channels, CHANNELS, align_corners=align_corners)
            in_channels = CHANNELS
        build = _espcn if upsampler == "espcn" else _deconv
        self.body, self.tail = build(in_channels, image_channels, scale_factor)
        self.has_espcn_init = upsampler == "espcn" and init_cfg is None

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says, or as ESPCN's code does."""
        is_first = not self.is_init
        super().init_weights()
        if is_first and self.has_espcn_init:
            convs = [m for m in (*self.body, *self.tail) if isinstance(m, nn.Conv2d)]
            for conv in convs:
                fan_out = conv.out_channels * conv.kernel_size[0] ** 2
                nn.init.normal_(conv.weight, std=sqrt(2 / fan_out))
                nn.init.zeros_(conv.bias)
            nn.init.normal_(convs[-1].weight, std=0.001)

    def select(self, inputs: Sequence[Tensor]) -> Tensor:
        """The features that are up-sampled, (N, C, h, w), of the encoder's maps."""
        if self.mix is None:
            return select_map(inputs, self.in_index, self.in_channels, self)
        return self.mix(select_streams(inputs, self.in_index, self.in_channels, self))

    def forward(self, inputs: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Super-resolve the image.

        Args:
            inputs (Sequence[Tensor]): The encoder's maps.
            size (Sequence[int]): Height and width of the image to reconstruct.

        Returns:
            tuple[Tensor, Tensor]: The image, (N, image_channels, H, W); the last features before
            it, which the affinity loss compares.
        """
        x = self.select(inputs)
        low = tuple(ceil(length / self.scale_factor) for length in size)
        if x.shape[2:] != low:
            x = F.interpolate(x, low, mode="bilinear", align_corners=self.align_corners)
        feature = self.body(x)
        return self.tail(feature)[:, :, : size[0], : size[1]], feature

    def loss_by_image(
        self, image: Tensor, target: Tensor, paddings: Sequence[Sequence[int]]
    ) -> dict[str, Tensor]:
        """Mean squared error over what is not padding.

        Args:
            image (Tensor): (N, image_channels, H, W), the reconstruction.
            target (Tensor): Of the same shape, the normalised image.
            paddings (Sequence[Sequence[int]]): For each image what was padded at left, right, top
                and bottom: zeros there are no target.

        Returns:
            dict[str, Tensor]: ``loss_mse``.
        """
        dtype = accumulation_dtype(image)
        error = F.mse_loss(image.to(dtype), target.to(dtype), reduction="none")
        height, width = error.shape[2:]
        inner = [
            part[:, top : height - bottom, left : width - right]
            for part, (left, right, top, bottom) in zip(error, paddings, strict=True)
        ]
        count = sum(part.numel() for part in inner)
        return dict(loss_mse=self.loss_weight * sum(part.sum() for part in inner) / max(count, 1))


@MODELS.register_module()
class DeepLabV3PlusSISRHead(SISRHead):
    """SISR branch with a DeepLabV3+ decoder of its own at stride 4, as in Dootmaan/DSRL.

    It reads what the segmentation branch's decoder reads, the pooled pyramid and the low-level map
    of :class:`mmseg_papers.models.necks.ASPPNeck`, and reduces its output to 64 channels.

    Args:
        in_channels (int): Channels of the pyramid. Default: 256.
        c1_in_channels (int): Channels of the low-level map. Default: 256.
        c1_index (int): Which map that is. Default: 0.
        norm_cfg (dict, optional): Default: ``dict(type='BN')``.
        **kwargs: As :class:`SISRHead`.
    """

    def __init__(
        self,
        in_channels: int = 256,
        c1_in_channels: int = 256,
        c1_index: int = 0,
        *,
        norm_cfg: dict | None = dict(type="BN"),  # noqa: B006  (OpenMMLab's convention)
        **kwargs,
    ) -> None:
        super().__init__(CHANNELS, **kwargs)
        self.in_channels = in_channels
        self.c1_in_channels = c1_in_channels
        self.c1_index = c1_index
        self.decoder = DeepLabV3PlusDecoder(
            in_channels,
            c1_in_channels,
            channels=(256, 128),
            separable=False,
            dropout_ratios=(0.5, 0.1),
            align_corners=self.align_corners,
            norm_cfg=norm_cfg,
        )
        self.project = nn.Conv2d(128, CHANNELS, 1)

    def select(self, inputs: Sequence[Tensor]) -> Tensor:
        """The decoder's output, (N, 64, h, w) at the size of the low-level map."""
        x = select_map(inputs, self.in_index, self.in_channels, self)
        low_level = select_map(inputs, self.c1_index, self.c1_in_channels, self, "c1_")
        return self.project(self.decoder(x, low_level))


def _espcn(channels: int, image_channels: int, factor: int) -> tuple[nn.Module, nn.Module]:
    body = nn.Sequential(
        nn.Conv2d(channels, 64, 5, padding=2),
        nn.Tanh(),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.Tanh(),
    )
    tail = nn.Sequential(
        nn.Conv2d(32, image_channels * factor**2, 3, padding=1), nn.PixelShuffle(factor)
    )
    return body, tail


def _deconv(channels: int, image_channels: int, factor: int) -> tuple[nn.Module, nn.Module]:
    widths = (channels, 64, 32, 16)
    body = nn.Sequential(
        *(
            layer
            for i in range(3)
            for layer in (
                nn.ConvTranspose2d(widths[i], widths[i + 1], 2, stride=2),
                ResidualBlock(widths[i + 1]),
            )
        )
    )
    return body, nn.Sequential(nn.Conv2d(widths[-1], image_channels, 1))


class ResidualBlock(nn.Module):
    """Two 3x3 convs beside a 1x1 conv, without norm (Dootmaan/DSRL, after EDSR).

    Args:
        channels (int): Of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Refine a map of (N, channels, H, W)."""
        return self.convs(x) + self.shortcut(x)
