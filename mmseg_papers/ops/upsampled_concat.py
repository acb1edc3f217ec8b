"""Convolutions over a concatenation of maps that are resized to the first one's size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .bilinear import bilinear_matrix
from .export import is_exporting, references_asked
from .layout import is_channels_last
from .precision import accumulation_dtype
from .upsample_add import upsample_add

#: A map with at least this many channels is convolved at its own resolution. Convolving low saves
#: C_r * (1 - 1/s^2) multiply-adds per output value and costs one more interpolation of it. Measured
#: on HRNet's heads of widths 12 to 48: within a few percent of the best choice in both layouts.
MIN_CHANNELS_LOW = 48
#: Below this scale a 3x3 convolution over a resized map costs no more than its rows' mixing.
MIN_SCALE_LOW = 4


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
            resolution. Default: 48.

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
    if references_asked():
        return conv1x1_of_upsampled_concat_reference(xs, weight, bias, align_corners)
    weights = weight.split(channels, dim=1)
    is_low = [r > 0 and c >= min_channels_low for r, c in enumerate(channels)]
    full = [(x, w) for x, w, low in zip(xs, weights, is_low, strict=True) if not low]
    maps, kernels = zip(*full, strict=True)
    y = conv1x1_of_upsampled_concat_reference(maps, torch.cat(kernels, 1), bias, align_corners)
    low = [F.conv2d(x, w) for x, w, low in zip(xs, weights, is_low, strict=True) if low]
    return upsample_add([y, *low], align_corners=align_corners) if low else y


def conv3x3_of_upsampled_concat_reference(
    xs: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None = None,
    align_corners: bool = False,
    dilation: int = 1,
) -> Tensor:
    """Plain form of :func:`conv3x3_of_upsampled_concat`: resize, concatenate, convolve."""
    size = xs[0].shape[2:]
    maps = [F.interpolate(x, size, mode="bilinear", align_corners=align_corners) for x in xs[1:]]
    x = torch.cat([xs[0], *maps], dim=1)
    return F.conv2d(x, weight, bias, padding=dilation, dilation=dilation)


def conv3x3_of_upsampled_concat(
    xs: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None = None,
    align_corners: bool = False,
    dilation: int = 1,
) -> Tensor:
    """Convolve a concatenation of up-sampled maps by a 3x3 kernel, mostly at their own resolution.

    Bilinear interpolation is separable: of a map, only the columns are interpolated before the
    kernel's three rows are applied, as three 1x3 convolutions at the map's own height; what the
    rows' interpolation, the kernel's vertical steps and the zero padding do together is one matrix
    of (H_0, 3 h_r), applied to all columns and channels at once. A map of a quarter of the height
    costs about a quarter of the multiply-adds. HRNet-W48's 720 -> 512 of OCR takes 39 instead of
    109 G multiply-adds at 512 x 1024.

    Args:
        xs (Sequence[Tensor]): Maps of shapes (N, C_r, H_r, W_r); the first gives the output's size.
        weight (Tensor): (O, sum C_r, 3, 3).
        bias (Tensor, optional): (O,).
        align_corners (bool): As for ``torch.nn.functional.interpolate``. Default: False.
        dilation (int): Of the kernel; the padding is the same. Default: 1.

    Returns:
        Tensor: (N, O, H_0, W_0), equal to the plain form up to rounding.

    Raises:
        ValueError: If the kernel is not 3x3 or its inputs are not the maps' channels.
    """
    channels = [x.shape[1] for x in xs]
    if weight.shape[1:] != (sum(channels), 3, 3):
        raise ValueError(
            f"maps of {channels} channels need a weight of (O, {sum(channels)}, 3, 3), "
            f"got {tuple(weight.shape)}"
        )
    height = xs[0].shape[2]
    weights = weight.split(channels, dim=1)
    is_low = [not is_exporting() and height >= MIN_SCALE_LOW * x.shape[2] for x in xs]
    full = [(x, w) for x, w, low in zip(xs, weights, is_low, strict=True) if not low]
    maps, kernels = zip(*full, strict=True)
    y = conv3x3_of_upsampled_concat_reference(
        maps, torch.cat(kernels, 1), bias, align_corners, dilation
    )
    for x, w, low in zip(xs, weights, is_low, strict=True):
        if low:
            y = _add_conv3x3_of_upsampled(y, x, w, align_corners, dilation)
    return y


def _add_conv3x3_of_upsampled(
    y: Tensor, x: Tensor, weight: Tensor, align_corners: bool, dilation: int
) -> Tensor:
    """``y`` (N, O, H, W) plus the 3x3 convolution of ``x`` (N, C, h, w) resized to (H, W)."""
    images, outputs, height, width = y.shape
    rows = x.shape[2]
    x = F.interpolate(x, (rows, width), mode="bilinear", align_corners=align_corners)
    matrix = _vertical_matrix(rows, height, align_corners, dilation, y)
    step = dict(padding=(0, dilation), dilation=(1, dilation))
    if is_channels_last(y):
        # A row of pixels with all their channels is one run in memory.
        total = y.permute(0, 2, 3, 1).reshape(images, height, width * outputs)
        for i, part in enumerate(matrix.split(rows, dim=1)):
            z = F.conv2d(x, weight[:, :, i : i + 1], **step)
            z = z.permute(0, 2, 3, 1).reshape(images, rows, width * outputs)
            total = torch.baddbmm(total, part.expand(images, -1, -1), z)
        return total.view(images, height, width, outputs).permute(0, 3, 1, 2)
    kernel = weight.transpose(1, 2).reshape(3 * outputs, -1, 1, 3)
    z = F.conv2d(x, kernel, **step).reshape(images * outputs, 3 * rows, width)
    total = y.reshape(images * outputs, height, width)
    total = torch.baddbmm(total, matrix.expand(len(total), -1, -1), z)
    return total.view(images, outputs, height, width)


def _vertical_matrix(
    rows: int, height: int, align_corners: bool, dilation: int, like: Tensor
) -> Tensor:
    """(height, 3 rows): interpolation of the rows, seen from one step above, here and below."""
    dtype = accumulation_dtype(like)
    resize = bilinear_matrix(rows, height, align_corners, like.device, dtype)
    padded = F.pad(resize, (0, 0, dilation, dilation))
    seen = [padded[i * dilation : i * dilation + height] for i in range(3)]
    return torch.cat(seen, dim=1).to(like.dtype)


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
