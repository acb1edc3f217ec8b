"""Label map of bilinearly resized logits, without the resized logits."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .bilinear import bilinear_taps
from .export import is_exporting
from .precision import accumulation_dtype, check_floating_point
from .triton_device import runs_triton

#: Bytes of resized logits that are reduced to labels at a time, to stay in the cache.
CHUNK_BYTES = 1 << 20
#: Bytes of logits that are resized along the columns at a time.
STRIP_BYTES = 4 << 20


def upsample_argmax_reference(
    logits: Tensor,
    size: tuple[int, int],
    *,
    align_corners: bool = False,
    crop: tuple[int, int, int, int] | None = None,
    out_size: tuple[int, int] | None = None,
    flip: str | None = None,
    with_confidence: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Plain form of :func:`upsample_argmax`: mmseg's resize, crop, flip, resize, arg max."""
    y = logits.to(accumulation_dtype(logits))
    y = F.interpolate(y, size, mode="bilinear", align_corners=align_corners)
    left, right, top, bottom = crop or (0, 0, 0, 0)
    y = y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]
    if flip is not None:
        y = y.flip(3 if flip == "horizontal" else 2)
    if out_size is not None:
        y = F.interpolate(y, out_size, mode="bilinear", align_corners=align_corners)
    labels = y.argmax(1).to(_label_dtype(logits))
    return (labels, y.softmax(1).amax(1)) if with_confidence else labels


def upsample_argmax(
    logits: Tensor,
    size: tuple[int, int],
    *,
    align_corners: bool = False,
    crop: tuple[int, int, int, int] | None = None,
    out_size: tuple[int, int] | None = None,
    flip: str | None = None,
    with_confidence: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Most likely class per pixel of bilinearly resized logits, without holding these.

    The steps are those of ``mmseg``'s evaluation: resize to the padded input's size, remove the
    padding, undo the flip, resize to the original image's size, arg max over the classes. Float32
    values are computed with PyTorch's own order of operations, so on the CPU the labels are those
    of the plain form in NCHW layout. For channels_last, and for results of H + W <= 128, stock
    interpolation rounds differently, and labels can differ at pixels whose two best logits agree
    to a few units in the last place. Half-precision logits are resized in float32. Not
    differentiable.

    Time and extra memory against the plain form are listed in docs/benchmarks.md.

    Args:
        logits (Tensor): (N, K, h, w), floating point without NaN, at least 2 classes.
        size (tuple[int, int]): Height and width of the first resize.
        align_corners (bool): As for ``torch.nn.functional.interpolate``. Default: False.
        crop (tuple[int, int, int, int], optional): Left, right, top and bottom padding to remove
            from the resized map, the order of mmseg's ``img_padding_size``.
        out_size (tuple[int, int], optional): Height and width of the second resize.
        flip (str, optional): ``'horizontal'`` or ``'vertical'``: the flip to undo after the crop.
        with_confidence (bool): Also return the winner's soft-max probability. Default: False.

    Returns:
        Tensor | tuple[Tensor, Tensor]: Labels (N, H, W), uint8 up to 255 classes, else int64; the
        first of equal maxima wins. With ``with_confidence`` also the probabilities (N, H, W), in
        float32, or float64 for float64 logits.

    Raises:
        TypeError: If the logits are not floating point.
        ValueError: If a shape, size, crop or flip is not as described.
    """
    _check(logits, size, crop, out_size, flip)
    if is_exporting():
        return upsample_argmax_reference(
            logits,
            size,
            align_corners=align_corners,
            crop=crop,
            out_size=out_size,
            flip=flip,
            with_confidence=with_confidence,
        )
    crop = crop or (0, 0, 0, 0)
    size = tuple(size)
    cropped = (size[0] - crop[2] - crop[3], size[1] - crop[0] - crop[1])
    labels, confidence = _upsample_argmax(
        logits.detach(), size, align_corners, crop, out_size or cropped, flip, with_confidence
    )
    return (labels, confidence) if with_confidence else labels


@MODELS.register_module()
class UpsampleArgmax(nn.Module):
    """Module form of :func:`upsample_argmax`: the last layer of a deployed network.

    Args:
        size (tuple[int, int]): Height and width of the label map.
        align_corners (bool): As for ``torch.nn.functional.interpolate``. Default: False.
    """

    def __init__(self, size: tuple[int, int], align_corners: bool = False) -> None:
        super().__init__()
        self.size = tuple(size)
        self.align_corners = align_corners

    def forward(self, logits: Tensor) -> Tensor:
        """Label map.

        Args:
            logits (Tensor): (N, K, h, w).

        Returns:
            Tensor: (N, H, W), as :func:`upsample_argmax`.
        """
        return upsample_argmax(logits, self.size, align_corners=self.align_corners)


def _check(logits, size, crop, out_size, flip) -> None:
    if logits.dim() != 4 or logits.shape[1] < 2 or 0 in logits.shape[2:]:
        raise ValueError(
            "logits must be (N, K, h, w) with K >= 2 (a single class is thresholded, not compared) "
            f"and h, w >= 1, got {tuple(logits.shape)}"
        )
    check_floating_point("logits", logits)
    for name, value in (("size", size), ("out_size", out_size)):
        if value is not None and (len(value) != 2 or min(value) < 1):
            raise ValueError(f"{name} must be a height and a width of at least 1, got {value}")
    if crop is not None:
        if len(crop) != 4 or min(crop) < 0:
            raise ValueError(f"crop must be (left, right, top, bottom), all >= 0, got {crop}")
        if crop[0] + crop[1] >= size[1] or crop[2] + crop[3] >= size[0]:
            raise ValueError(f"crop {crop} (left, right, top, bottom) leaves nothing of {size}")
    if flip not in (None, "horizontal", "vertical"):
        raise ValueError(f"flip must be None, 'horizontal' or 'vertical', got {flip!r}")


def _label_dtype(logits: Tensor) -> torch.dtype:
    return torch.uint8 if logits.shape[1] <= 255 else torch.int64


def _compute(
    logits: Tensor,
    size: Sequence[int],
    align_corners: bool,
    crop: Sequence[int],
    out_size: Sequence[int],
    flip: str | None,
    with_confidence: bool,
) -> tuple[Tensor, Tensor]:
    """Labels and confidence (empty if not asked for) of checked arguments."""
    labels, confidence = _empty_results(logits, out_size, with_confidence)
    if runs_triton(logits):
        from .upsample_argmax_triton import upsample_argmax_triton

        upsample_argmax_triton(
            logits, size, align_corners, crop, out_size, flip, labels, confidence
        )
        return labels, confidence
    left, right, top, bottom = crop
    cropped = (size[0] - top - bottom, size[1] - left - right)
    resizes_twice = tuple(out_size) != cropped
    if resizes_twice:
        last = _Resize(cropped, out_size, align_corners, logits)
        first = _Resize(logits.shape[2:], size, align_corners, logits)
    else:
        last = _Resize(logits.shape[2:], size, align_corners, logits)
    classes = logits.shape[1]
    countdown = torch.arange(classes, 0, -1, dtype=accumulation_dtype(logits), device=logits.device)
    for n, image in enumerate(logits):
        if resizes_twice:
            source = partial(_cropped_band, image, first, crop, cropped, flip)
            chunks = last.chunks(source, classes, 0, out_size[0], slice(out_size[1]))
        else:
            chunks = last.chunks(
                partial(_band, image),
                classes,
                top,
                top + cropped[0],
                slice(left, left + cropped[1]),
            )
        row = 0
        for values in chunks:
            rows = slice(row, row + values.shape[1])
            best = values.amax(0)
            if with_confidence:
                confidence[n, rows] = (values - best).exp_().sum(0).reciprocal_()
            # The winners score by the classes left from them on, so the first of them scores most.
            # Every step is vectorised, which PyTorch's arg max is not.
            score = values.eq_(best).mul_(countdown[:, None, None]).amax(0)
            labels[n, rows] = classes - score.clamp_(min=1)  # 0: NaN, equal to nothing
            row = rows.stop
    if flip is not None and not resizes_twice:  # the resized map is only read, so flip what is made
        dim = 2 if flip == "horizontal" else 1
        labels = labels.flip(dim)
        confidence = confidence.flip(dim) if with_confidence else confidence
    return labels, confidence


def _band(image: Tensor, start: int, stop: int) -> Tensor:
    return image[:, start:stop]


def _cropped_band(
    image: Tensor,
    resize: _Resize,
    crop: Sequence[int],
    cropped: Sequence[int],
    flip: str | None,
    start: int,
    stop: int,
) -> Tensor:
    """Rows [start, stop) of the map after the first resize, the crop and the un-flip."""
    if flip == "vertical":
        start, stop = cropped[0] - stop, cropped[0] - start
    left, _, top, _ = crop
    band = resize.rows(image, top + start, top + stop)[:, :, left : left + cropped[1]]
    return band if flip is None else band.flip(2 if flip == "horizontal" else 1)


def _empty_results(
    logits: Tensor, out_size: Sequence[int], with_confidence: bool
) -> tuple[Tensor, Tensor]:
    shape = (logits.shape[0], *out_size)
    return (
        logits.new_empty(shape, dtype=_label_dtype(logits)),
        logits.new_empty(shape if with_confidence else 0, dtype=accumulation_dtype(logits)),
    )


class _Resize:
    """Bilinear resize of (K, h, w) maps to any band of rows of the result.

    Columns are interpolated first, then rows, with the second product fused into the sum: the
    order of PyTorch's CPU kernel, which makes the float32 values bit-equal to it.
    """

    def __init__(
        self, in_size: Sequence[int], out_size: Sequence[int], align_corners: bool, like: Tensor
    ) -> None:
        self.dtype = accumulation_dtype(like)
        lower, upper, weight = bilinear_taps(
            in_size[0], out_size[0], align_corners, dtype=self.dtype
        )
        self.lower, self.upper = lower.tolist(), upper.tolist()
        self.weight = weight[:, None].to(like.device)
        self.in_width, self.width = in_size[1], out_size[1]
        self.align_corners = align_corners

    def rows(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Result rows [start, stop) of the whole map ``x``."""
        first = self.lower[start]
        x = self._resize_columns(x[:, first : self.upper[stop - 1] + 1])
        return self._mix_rows(x, first, start, stop, x.new_empty(len(x), stop - start, self.width))

    def chunks(
        self, source: Callable[[int, int], Tensor], classes: int, start: int, stop: int, crop: slice
    ) -> Iterator[Tensor]:
        """Columns ``crop`` of result rows [start, stop), some at a time, in one reused buffer.

        ``source(a, b)`` gives rows [a, b) of the map to resize.
        """
        bytes_per_row = classes * max(self.in_width, self.width) * self.weight.element_size()
        source_rows = max(STRIP_BYTES // bytes_per_row, 2)
        columns = len(range(*crop.indices(self.width)))
        chunk_rows = max(CHUNK_BYTES // (classes * columns * self.weight.element_size()), 1)
        buffer = self.weight.new_empty(classes * min(chunk_rows, stop - start) * columns)
        while start < stop:
            first = self.lower[start]
            end = max(bisect_left(self.upper, first + source_rows, start, stop), start + 1)
            x = self._resize_columns(source(first, self.upper[end - 1] + 1))[:, :, crop]
            for row in range(start, end, chunk_rows):
                rows = min(chunk_rows, end - row)
                out = buffer[: classes * rows * columns].view(classes, rows, columns)
                yield self._mix_rows(x, first, row, row + rows, out)
            start = end

    def _resize_columns(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        if self.in_width == self.width:
            return x
        return F.interpolate(
            x.reshape(1, -1, self.in_width),
            self.width,
            mode="linear",
            align_corners=self.align_corners,
        ).view(*x.shape[:2], self.width)

    def _mix_rows(self, x: Tensor, first: int, start: int, stop: int, out: Tensor) -> Tensor:
        """Write result rows [start, stop); ``x`` holds the source rows from ``first``."""
        row = start
        while row < stop:
            lower, upper = self.lower[row] - first, self.upper[row] - first
            end = row + 1
            while end < stop and self.lower[end] == self.lower[row]:
                end += 1
            band, weight = out[:, row - start : end - start], self.weight[row:end]
            torch.mul(x[:, upper, None], weight, out=band)
            band.addcmul_(x[:, lower, None], 1 - weight)
            row = end
        return out


if hasattr(torch.library, "custom_op"):  # torch >= 2.4: torch.compile does not look inside
    _upsample_argmax = torch.library.custom_op(
        "mmseg_papers::upsample_argmax",
        _compute,
        mutates_args=(),
        schema="(Tensor logits, SymInt[2] size, bool align_corners, SymInt[4] crop, "
        "SymInt[2] out_size, str? flip, bool with_confidence) -> (Tensor, Tensor)",
    )

    @_upsample_argmax.register_fake
    def _(logits, size, align_corners, crop, out_size, flip, with_confidence):
        return _empty_results(logits, out_size, with_confidence)

else:
    _upsample_argmax = _compute
