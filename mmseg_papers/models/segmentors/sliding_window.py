"""Sliding windows whose logits are averaged in bands of rows, from the top down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class SlidingWindow:
    """The windows of ``mmseg``'s ``slide_inference`` over a batch of images of one size.

    Args:
        size (tuple[int, int]): Height and width of the images.
        crop_size (tuple[int, int]): Of a window; where the image is smaller, the window is, too.
        stride (tuple[int, int]): Between windows.
        align_corners (bool): How logits of a window are resized to it.
        output_scale (int): Sides of the averaged logits over those of the images. Default: 1.

    Raises:
        ValueError: If pixels between the windows are in none.
    """

    def __init__(
        self,
        size: tuple[int, int],
        crop_size: Sequence[int],
        stride: Sequence[int],
        align_corners: bool,
        output_scale: int = 1,
    ) -> None:
        self.size = tuple(output_scale * length for length in size)
        self.align_corners = align_corners
        self.output_scale = output_scale
        spans = map(_spans, size, crop_size, stride)
        self.rows, self.columns = (
            [(output_scale * start, output_scale * stop) for start, stop in axis] for axis in spans
        )
        self.window_size = tuple(stop - start for start, stop in (self.rows[0], self.columns[0]))

    def batches(self, inputs: Tensor, window_batch: int) -> Iterator[Tensor]:
        """Cut the windows, in reading order.

        Args:
            inputs (Tensor): The images, (N, C, H, W).
            window_batch (int): Windows of each image to a batch.

        Yields:
            Tensor: (window_batch * N, C, h, w), the images of a window next to each other; the
            last batch may have fewer windows.
        """
        rows, columns = (
            [slice(start // self.output_scale, stop // self.output_scale) for start, stop in axis]
            for axis in (self.rows, self.columns)
        )
        windows = [inputs[:, :, row, column] for row in rows for column in columns]
        for i in range(0, len(windows), window_batch):
            group = windows[i : i + window_batch]
            yield group[0] if len(group) == 1 else torch.cat(group)

    def bands(self, logits: Iterable[Tensor], dtype: torch.dtype) -> Iterator[tuple[int, Tensor]]:
        """Averaged logits of the whole width, as soon as no later window adds to them.

        Args:
            logits (Iterable[Tensor]): (N, K, h, w) of every window in reading order.
            dtype (torch.dtype): In which they are added.

        Yields:
            tuple[int, Tensor]: First row and (N, K, rows, W), which the next step overwrites.
        """
        logits = iter(logits)
        height, width = self.window_size[0], self.size[1]
        buffer = None
        for i, (top, bottom) in enumerate(self.rows):
            for left, right in self.columns:
                window = next(logits)
                if buffer is None:
                    buffer = window.new_zeros(*window.shape[:2], height, width, dtype=dtype)
                    count_y = _count(self.rows, self.size[0]).to(buffer)
                    count_x = _count(self.columns, width).to(buffer)
                buffer[..., left:right] += self._resize(window)
            stop = self.rows[i + 1][0] if i + 1 < len(self.rows) else bottom
            done = stop - top
            yield top, buffer[:, :, :done].div_(count_y[top:stop, None] * count_x)
            buffer[:, :, : height - done] = buffer[:, :, done:].clone()
            buffer[:, :, height - done :] = 0

    def merge(self, logits: Iterable[Tensor], dtype: torch.dtype) -> Tensor:
        """Averaged logits of the whole images.

        Args:
            logits (Iterable[Tensor]): As for :meth:`bands`.
            dtype (torch.dtype): As for :meth:`bands`.

        Returns:
            Tensor: (N, K, H, W).
        """
        merged = None
        for top, band in self.bands(logits, dtype):
            if merged is None:
                merged = band.new_empty(*band.shape[:2], *self.size)
            merged[:, :, top : top + band.shape[2]] = band
        return merged

    def _resize(self, logits: Tensor) -> Tensor:
        if logits.shape[2:] == self.window_size:
            return logits
        return F.interpolate(
            logits, self.window_size, mode="bilinear", align_corners=self.align_corners
        )


def _spans(length: int, crop: int, stride: int) -> list[tuple[int, int]]:
    """Start and stop of the windows along one axis; the last one ends with the image."""
    spans = []
    for i in range(max(length - crop + stride - 1, 0) // stride + 1):
        stop = min(i * stride + crop, length)
        spans.append((max(stop - crop, 0), stop))
    if not _count(spans, length).all():
        raise ValueError(
            f"windows of {crop} pixels with stride {stride} leave gaps in an image of {length}; "
            "test_cfg.stride must not exceed test_cfg.crop_size"
        )
    return spans


def _count(spans: list[tuple[int, int]], length: int) -> Tensor:
    """How many windows hold each position."""
    count = torch.zeros(length)
    for start, stop in spans:
        count[start:stop] += 1
    return count
