"""1x1 convolution over a concatenation of maps that are resized to the first one's size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .upsample_add import upsample_add

#: A map with at least this many channels is convolved at its own resolution. Convolving low saves
#: C_r * (1 - 1/s^2) multiply-adds per output value and costs one more interpolation of it. Measured
#: on HRNet's heads of widths 12 to 48: within a few percent of the best choice in both layouts.
MIN_CHANNELS_LOW = 48


def conv1x1_of_upsampled_concat_reference(
    xs: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None, align_corners: bool = False
) -> Tensor:
    """Plain form of :func:`conv1x1_of_upsampled_concat`: resize, concatenate, convolve."""
    size = xs[0].shape[2:]
    maps = [F.interpolate(x, size, mode="bilinear", align_corners=align_corners) for x in xs[1:]]
    return F.conv2d(torch.cat([xs[0], *maps], dim=1), weight, bias)


def conv1x1_of_upsampled_concat(
    xs: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None = None,
    align_corners: bool = False,
    min_channels_low: int = MIN_CHANNELS_LOW,
) -> Tensor:
    """Convolve a concatenation of up-sampled maps without building it.

    Interpolation acts on each channel alone and a 1x1 convolution on each pixel alone, so they
    commute: W concat(x_0, up(x_1), ..) = W_0 x_0 + sum_r up(W_r x_r). Wide maps are convolved at
    their own resolution and summed by :func:`mmseg_papers.ops.upsample_add`; narrow ones, where
    that does not pay, are concatenated as usual. HRNetV2's 15C -> 15C head at low resolution costs
    an eighth of the multiply-adds. Times are listed in docs/benchmarks.md.

    Args:
        xs (Sequence[Tensor]): Maps of shapes (N, C_r, H_r, W_r); the first gives the output's size.
        weight (Tensor): (O, sum C_r, 1, 1).
        bias (Tensor, optional): (O,).
        align_corners (bool): As for ``torch.nn.functional.interpolate``. Default: False.
        min_channels_low (int): Maps with at least so many channels are convolved at their own
            resolution. Default: :data:`MIN_CHANNELS_LOW`.

    Returns:
        Tensor: (N, O, H_0, W_0), equal to the plain form up to rounding.

    Raises:
        ValueError: If the kernel is not 1x1 or its inputs are not the maps' channels.
    """
    channels = [x.shape[1] for x in xs]
    if weight.shape[1:] != (sum(channels), 1, 1):
        raise ValueError(
            f"maps of {channels} channels need a weight of (O, {sum(channels)}, 1, 1), "
            f"got {tuple(weight.shape)}"
        )
    weights = weight.split(channels, dim=1)
    is_low = [r > 0 and c >= min_channels_low for r, c in enumerate(channels)]
    full = [(x, w) for x, w, low in zip(xs, weights, is_low, strict=True) if not low]
    maps, kernels = zip(*full, strict=True)
    y = conv1x1_of_upsampled_concat_reference(maps, torch.cat(kernels, 1), bias, align_corners)
    low = [F.conv2d(x, w) for x, w, low in zip(xs, weights, is_low, strict=True) if low]
    return upsample_add([y, *low], align_corners=align_corners) if low else y


@MODELS.register_module()
class Conv1x1OfUpsampledConcat(nn.Conv2d):
    """Module form of :func:`conv1x1_of_upsampled_concat`.

    Parameters, their names and initialisation are those of the ``nn.Conv2d`` that it replaces.

    Args:
        in_channels (Sequence[int]): Channels of the maps.
        out_channels (int): Channels of the result.
        bias (bool): Whether to add a bias. Default: True.
        align_corners (bool): As for ``torch.nn.functional.interpolate``. Default: False.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        bias: bool = True,
        align_corners: bool = False,
    ) -> None:
        super().__init__(sum(in_channels), out_channels, kernel_size=1, bias=bias)
        self.map_channels = tuple(in_channels)
        self.align_corners = align_corners

    def forward(self, xs: Sequence[Tensor]) -> Tensor:
        """Mix the maps at the first one's size.

        Args:
            xs (Sequence[Tensor]): Maps (N, C_r, H_r, W_r).

        Returns:
            Tensor: (N, out_channels, H_0, W_0).
        """
        got = tuple(x.shape[1] for x in xs)
        if got != self.map_channels:
            raise ValueError(f"maps of {self.map_channels} channels are expected, got {got}")
        return conv1x1_of_upsampled_concat(xs, self.weight, self.bias, self.align_corners)
