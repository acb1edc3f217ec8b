"""Cross entropy of bilinearly resized logits, without the resized logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .bilinear import bilinear_taps
from .export import is_exporting, is_traced
from .once_differentiable import graph_anchor, once_differentiable
from .precision import accumulation_dtype, check_floating_point, no_autocast
from .triton_device import check_one_device, runs_triton

#: Bytes of resized logits held at a time: on a CPU a tile that stays in its caches.
CPU_TILE_BYTES = 2 << 20
TILE_BYTES = 64 << 20
#: Columns of a tile for each of its rows. Long rows keep the inner loops long; several rows share
#: the source rows that they are mixed from.
TILE_ASPECT = 8
#: mmseg's guard against a division by zero, in its means and in its accuracy.
EPS = torch.finfo(torch.float32).eps


def upsample_cross_entropy_reference(
    logits: Tensor,
    label: Tensor,
    *,
    class_weight: Tensor | None = None,
    pixel_weight: Tensor | None = None,
    ignore_index: int = 255,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    avg_non_ignore: bool = False,
    align_corners: bool = False,
) -> tuple[Tensor, Tensor]:
    """Plain form of :func:`upsample_cross_entropy`: resize, cross entropy, top-1 accuracy."""
    label = label.long()
    valid = label != ignore_index
    dtype = accumulation_dtype(logits)
    y = F.interpolate(
        logits.to(dtype), label.shape[1:], mode="bilinear", align_corners=align_corners
    )
    weight = None if class_weight is None else class_weight.to(dtype)
    loss = F.cross_entropy(
        y,
        label,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction="none",
    )
    if pixel_weight is not None:
        loss = loss * pixel_weight.to(dtype)
    if weight is None:
        label_weight = valid.sum()
    else:
        label_weight = torch.where(valid, weight[label * valid], 0).sum()
    correct = ((y.topk(1, dim=1).indices[:, 0] == label) & valid).sum()
    return _finish(
        loss, correct, valid.sum(), label_weight, label, class_weight, reduction, avg_non_ignore
    )


def upsample_cross_entropy(
    logits: Tensor,
    label: Tensor,
    *,
    class_weight: Tensor | None = None,
    pixel_weight: Tensor | None = None,
    ignore_index: int = 255,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    avg_non_ignore: bool = False,
    align_corners: bool = False,
) -> tuple[Tensor, Tensor]:
    """Cross entropy and accuracy of bilinearly resized logits, without holding these.

    Loss, gradient and accuracy are those of ``mmseg``'s path (resize the logits to the label's
    size, ``CrossEntropyLoss``, ``accuracy``). The resized logits exist only one tile at a time, and
    half-precision logits are resized and summed in float32. For ``'mean'`` and ``'sum'`` the
    gradient with respect to the logits is made in the forward and takes the logits' size; for
    ``'none'`` the log-sum-exp of each pixel is kept and the logits are resized again in the
    backward. The backward has a fixed order of summation on every device and cannot be
    differentiated again. Only the logits receive a gradient.

    Time and extra memory against the plain form are listed in docs/benchmarks.md.

    Args:
        logits (Tensor): (N, K, h, w), floating point.
        label (Tensor): Class indices, (N, H, W), int64 or uint8; its size is what the logits are
            resized to. On a CPU a label that is neither a class nor ``ignore_index`` is an error;
            on CUDA, where looking would stall the queue, it makes its pixel's loss NaN.
        class_weight (Tensor, optional): (K,).
        pixel_weight (Tensor, optional): Factor of each pixel's loss, (N, H, W), as ``mmseg``'s
            samplers give.
        ignore_index (int): Label of pixels without a class. Default: 255.
        label_smoothing (float): In [0, 1], as for ``torch.nn.functional.cross_entropy``.
        reduction (str): ``'none'``, ``'sum'`` or ``'mean'``. Default: ``'mean'``.
        avg_non_ignore (bool): The mean's divisor without class weights: the number of all pixels
            (False) or of those that are not ignored (True). With class weights the divisor is
            always sum(w_y) over the pixels that are not ignored. Default: False.
        align_corners (bool): As for ``torch.nn.functional.interpolate``. Default: False.

    Returns:
        tuple[Tensor, Tensor]: The loss, () or, unreduced, (N, H, W), in float32, or float64 for
        float64 logits; 0 where every pixel is ignored. The percentage of the pixels that are not
        ignored whose class has the largest logit, (1,) float32, without gradient; 100 where every
        pixel is ignored and 0 for an empty batch, as ``mmseg`` has it. A pixel whose true class
        shares the largest logit with another counts as correct, where ``mmseg`` counts it or not as
        ``topk`` happens to order them.

    Raises:
        TypeError: If the logits are not floating point or the label is not int64 or uint8.
        ValueError: If a shape, a device or an option is not as described, or a label is out of
            range (CPU only).
    """
    _check(logits, label, class_weight, pixel_weight)
    _check_options(label_smoothing, reduction)
    if is_exporting():
        return upsample_cross_entropy_reference(
            logits,
            label,
            class_weight=class_weight,
            pixel_weight=pixel_weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
            avg_non_ignore=avg_non_ignore,
            align_corners=align_corners,
        )
    loss, totals = _UpsampleCrossEntropy.apply(
        logits,
        graph_anchor(logits),
        label,
        None if class_weight is None else class_weight.detach(),
        None if pixel_weight is None else pixel_weight.detach(),
        ignore_index,
        float(label_smoothing),
        align_corners,
        reduction == "none",
        logits.requires_grad and torch.is_grad_enabled(),
    )
    correct, valid, label_weight = totals.unbind()
    return _finish(
        loss, correct, valid, label_weight, label, class_weight, reduction, avg_non_ignore
    )


@MODELS.register_module()
class UpsampleCrossEntropy(nn.Module):
    """Module form of :func:`upsample_cross_entropy`.

    Args:
        class_weight (Sequence[float], optional): One value for each class.
        ignore_index (int): Label of pixels without a class. Default: 255.
        label_smoothing (float): In [0, 1]. Default: 0.
        reduction (str): ``'none'``, ``'sum'`` or ``'mean'``. Default: ``'mean'``.
        avg_non_ignore (bool): As for the function. Default: False.
        align_corners (bool): As for the function. Default: False.

    Raises:
        ValueError: If ``label_smoothing`` or ``reduction`` is not as described.
    """

    def __init__(
        self,
        class_weight: Sequence[float] | None = None,
        ignore_index: int = 255,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        avg_non_ignore: bool = False,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        _check_options(label_smoothing, reduction)
        weight = None if class_weight is None else torch.tensor(class_weight)
        self.register_buffer("class_weight", weight, persistent=False)
        self.options = dict(
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
            avg_non_ignore=avg_non_ignore,
            align_corners=align_corners,
        )

    def forward(
        self, logits: Tensor, label: Tensor, pixel_weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Loss and accuracy.

        Args:
            logits (Tensor): (N, K, h, w).
            label (Tensor): (N, H, W).
            pixel_weight (Tensor, optional): (N, H, W).

        Returns:
            tuple[Tensor, Tensor]: As :func:`upsample_cross_entropy`.
        """
        return upsample_cross_entropy(
            logits,
            label,
            class_weight=self.class_weight,
            pixel_weight=pixel_weight,
            **self.options,
        )

    def extra_repr(self) -> str:
        """The options, for ``print``."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


def _finish(
    loss: Tensor,
    correct: Tensor,
    valid: Tensor,
    label_weight: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    reduction: str,
    avg_non_ignore: bool,
) -> tuple[Tensor, Tensor]:
    """Reduced loss and accuracy, as ``weight_reduce_loss`` and ``accuracy`` of mmseg make them."""
    if reduction != "none":
        loss = loss.sum()
    if reduction == "mean":
        uses_sum = class_weight is not None or avg_non_ignore
        loss = loss / ((label_weight.to(loss.dtype) if uses_sum else label.numel()) + EPS)
    accuracy = (correct.float() + EPS) * (100.0 / (valid.float() + EPS))
    if label.shape[0] == 0:
        accuracy = torch.zeros_like(accuracy)
    return loss, accuracy.reshape(1)


def _check(logits, label, class_weight, pixel_weight) -> None:
    if logits.dim() != 4 or 0 in logits.shape[1:]:
        raise ValueError(
            f"logits must be (N, K, h, w) with K, h, w >= 1, got {tuple(logits.shape)}"
        )
    check_floating_point("logits", logits)
    if label.dim() != 3 or label.shape[0] != logits.shape[0] or 0 in label.shape[1:]:
        raise ValueError(
            f"label must be (N, H, W) with N = {logits.shape[0]} and H, W >= 1, "
            f"got {tuple(label.shape)}"
        )
    if label.dtype not in (torch.int64, torch.uint8):
        raise TypeError(f"label must be int64 or uint8, got {label.dtype}")
    classes = logits.shape[1]
    if class_weight is not None and class_weight.shape != (classes,):
        raise ValueError(
            f"class_weight must be ({classes},), one value for each class, "
            f"got {tuple(class_weight.shape)}"
        )
    if pixel_weight is not None and pixel_weight.shape != label.shape:
        raise ValueError(
            f"pixel_weight must have the label's shape {tuple(label.shape)}, "
            f"got {tuple(pixel_weight.shape)}"
        )
    check_one_device(
        logits=logits, label=label, class_weight=class_weight, pixel_weight=pixel_weight
    )


def _check_options(label_smoothing: float, reduction: str) -> None:
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing}")
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f"reduction must be 'none', 'sum' or 'mean', got {reduction!r}")


class _UpsampleCrossEntropy(torch.autograd.Function):
    """Sum or map of the pixels' losses, and the sums of :func:`_cross_entropy_forward`."""

    @staticmethod
    def forward(
        ctx,
        logits,
        anchor,
        label,
        class_weight,
        pixel_weight,
        ignore_index,
        label_smoothing,
        align_corners,
        per_pixel,
        with_grad,
    ):
        options = (ignore_index, label_smoothing, align_corners)
        loss, totals, kept = _cross_entropy_forward(
            logits, label, class_weight, pixel_weight, *options, per_pixel, with_grad
        )
        ctx.options = options
        ctx.per_pixel = per_pixel
        ctx.dtype = logits.dtype
        if per_pixel:
            ctx.save_for_backward(kept, logits, label, class_weight, pixel_weight)
        else:
            ctx.save_for_backward(kept, anchor)
        ctx.mark_non_differentiable(totals)
        return loss, totals

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_loss, _):
        if ctx.per_pixel:
            lse, logits, label, class_weight, pixel_weight = ctx.saved_tensors
            if pixel_weight is not None:
                grad_loss = grad_loss * pixel_weight.to(grad_loss.dtype)
            grad = _cross_entropy_backward(
                grad_loss, logits, label, lse, class_weight, *ctx.options
            )
        else:
            grad, _ = ctx.saved_tensors
            grad = grad * grad_loss
        return (grad.to(ctx.dtype), *[None] * 9)


def _cross_entropy_forward_tiled(
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    align_corners: bool,
    per_pixel: bool,
    with_grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, sums and what the backward needs.

    Returns:
        tuple[Tensor, Tensor, Tensor]: The loss, (N, H, W) with ``per_pixel``, else () summed. The
        sums over the pixels that are not ignored of: correct ones, one, and the label's class
        weight; (3,). The log-sum-exp (N, H, W) with ``per_pixel``, else the gradient of the summed
        loss (N, K, h, w); empty without ``with_grad``.
    """
    dtype = accumulation_dtype(logits)
    map_or_empty = label.shape if per_pixel else (0,)
    loss_map = logits.new_empty(map_or_empty, dtype=dtype)
    lse_map = logits.new_empty(map_or_empty if with_grad else (0,), dtype=dtype)
    grad = None
    if with_grad and not per_pixel:
        grad = torch.zeros_like(logits, dtype=dtype)
    losses, totals = [], []
    for tile in _tiles(logits, label, align_corners):
        target = _Target(tile, label, pixel_weight, class_weight, ignore_index, label_smoothing)
        z = tile.resized
        top = z.amax(1, keepdim=True)
        z.sub_(top)
        true_logit = z.gather(1, target.index)
        shift = -target.of_true * true_logit
        if target.of_all is not None:
            shift -= target.of_all * torch.matmul(target.all_weights.t(), z)
        z.exp_()
        total = z.sum(1, keepdim=True)
        log_total = total.log()
        loss = target.of_total * log_total + shift
        if per_pixel:
            loss_map[tile.pixels] = loss[:, 0]
            if with_grad:
                lse_map[tile.pixels] = (top + log_total)[:, 0]
        else:
            losses.append(loss.sum())
        correct = (true_logit == 0) & target.valid
        totals.append(torch.stack([correct.sum(), target.valid.sum(), target.label_weight()]))
        if grad is not None:
            tile.add_gradient(target.gradient(z, total), grad)
    totals = torch.stack(totals).sum(0).to(dtype) if totals else logits.new_zeros(3, dtype=dtype)
    if per_pixel:
        return loss_map, totals, lse_map
    loss = torch.stack(losses).sum() if losses else logits.new_zeros((), dtype=dtype)
    return loss, totals, lse_map if grad is None else grad


def _cross_entropy_backward_tiled(
    upstream: Tensor,
    logits: Tensor,
    label: Tensor,
    lse: Tensor,
    class_weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    align_corners: bool,
) -> Tensor:
    """Gradient (N, K, h, w) of sum(upstream * loss) from the log-sum-exp of each pixel."""
    grad = torch.zeros_like(logits, dtype=lse.dtype)
    for tile in _tiles(logits, label, align_corners):
        target = _Target(tile, label, upstream, class_weight, ignore_index, label_smoothing)
        z = tile.resized.sub_(lse[tile.pixels].unsqueeze(1)).exp_()
        tile.add_gradient(target.gradient(z), grad)
    return grad


def class_indices(label: Tensor, classes: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Labels that can index the classes, and which of them count.

    Args:
        label (Tensor): Of any shape, integers.
        classes (int): Number of classes.
        ignore_index (int): Label of pixels without a class.

    Returns:
        tuple[Tensor, Tensor]: The labels with 0 for those to ignore, and whether each is none of
        these; of the label's shape.

    Raises:
        ValueError: If a label is neither a class nor ``ignore_index``; on a CPU only, as looking
            would stall a GPU's queue, and not while a graph is written.
    """
    valid = label != ignore_index
    index = label.masked_fill(~valid, 0)
    if index.device.type == "cpu" and index.numel() > 0 and not is_traced():
        for value in (int(v) for v in index.aminmax()):
            if not 0 <= value < classes:
                raise ValueError(
                    f"label holds {value}, which is neither one of the {classes} classes "
                    f"0..{classes - 1} nor ignore_index = {ignore_index}"
                )
    return index, valid


class _Target:
    """What a tile's labels and weights make of its pixels; every map is (rows, 1, columns).

    With a = 1 - label_smoothing, b = label_smoothing / K and a pixel's factor f (0 if ignored), its
    loss is ``of_total lse - of_true z_y - of_all sum_c w_c z_c``, where of_true = f a w_y,
    of_all = f b and of_total = of_true + of_all sum_c w_c.
    """

    def __init__(
        self,
        tile: _Tile,
        label: Tensor,
        factor: Tensor | None,
        class_weight: Tensor | None,
        ignore_index: int,
        label_smoothing: float,
    ) -> None:
        classes, dtype = tile.resized.shape[1], tile.resized.dtype
        index = label[tile.pixels].long().unsqueeze(1)
        self.index, self.valid = class_indices(index, classes, ignore_index)
        self.class_weight = class_weight
        factors = self.valid.to(dtype)
        if factor is not None:
            factors = factors * factor[tile.pixels].to(dtype).unsqueeze(1)
        self.of_true = factors * (1 - label_smoothing)
        if class_weight is not None:
            self.of_true = self.of_true * class_weight[self.index]
        self.of_total, self.of_all = self.of_true, None
        if label_smoothing:
            weights = factors.new_ones(classes) if class_weight is None else class_weight
            self.all_weights = weights.unsqueeze(1)
            self.of_all = factors * (label_smoothing / classes)
            self.of_total = self.of_true + self.of_all * weights.sum()

    def label_weight(self) -> Tensor:
        """Sum of the class weights of the labels that are not ignored."""
        if self.class_weight is None:
            return self.valid.sum()
        return (self.class_weight[self.index] * self.valid).sum()

    def gradient(self, exponentials: Tensor, total: Tensor | None = None) -> Tensor:
        """Gradient of the tile's loss with respect to its logits, in the place of exp(logits).

        ``total`` is the sum of the exponentials over the classes, 1 if not given.
        """
        scale = self.of_total if total is None else self.of_total / total
        grad = exponentials.mul_(scale)
        grad.scatter_add_(1, self.index, -self.of_true)
        if self.of_all is not None:
            grad.addcmul_(self.all_weights, self.of_all, value=-1)
        return grad


class _Span(NamedTuple):
    """A range of output positions along one axis, and how they are mixed from input positions."""

    output: slice
    input: slice
    mix: Tensor  # (output positions, input positions)


def _spans(
    in_size: int,
    out_size: int,
    length: int,
    align_corners: bool,
    device: torch.device,
    dtype: torch.dtype,
) -> list[_Span]:
    lower, upper, weight = bilinear_taps(in_size, out_size, align_corners, dtype=dtype)
    spans = []
    for start in range(0, out_size, length):
        span = slice(start, min(start + length, out_size))
        first, last = int(lower[span.start]), int(upper[span.stop - 1])
        mix = torch.zeros(span.stop - start, last + 1 - first, dtype=dtype)
        positions = torch.arange(span.stop - start)
        mix[positions, lower[span] - first] += 1 - weight[span]
        mix[positions, upper[span] - first] += weight[span]
        spans.append(_Span(span, slice(first, last + 1), mix.to(device)))
    return spans


class _Tile(NamedTuple):
    """Resized logits of a rectangle of one image, and where it lies."""

    resized: Tensor  # (rows, K, columns)
    image: int
    rows: _Span
    columns: _Span

    @property
    def pixels(self) -> tuple[int, slice, slice]:
        """Index of the tile in a map (N, H, W)."""
        return self.image, self.rows.output, self.columns.output

    def add_gradient(self, grad: Tensor, low: Tensor) -> None:
        """Add the tile's gradient, shaped as ``resized``, to that of the logits, (N, K, h, w)."""
        rows, classes, columns = grad.shape
        grad = torch.mm(self.rows.mix.t(), grad.view(rows, -1)).view(-1, columns)
        grad = torch.mm(grad, self.columns.mix).view(-1, classes, self.columns.mix.shape[1])
        low[self.image, :, self.rows.input, self.columns.input] += grad.transpose(0, 1)


def _tiles(logits: Tensor, label: Tensor, align_corners: bool) -> Iterator[_Tile]:
    """Tiles of the resized logits, image by image; the memory of one is used again for the next."""
    classes, in_size, out_size = logits.shape[1], logits.shape[2:], label.shape[1:]
    dtype, device = accumulation_dtype(logits), logits.device
    # Down-sampling reads more than it writes.
    reads = max(1, in_size[0] / out_size[0]) * max(1, in_size[1] / out_size[1])
    tile_bytes = CPU_TILE_BYTES if device.type == "cpu" else TILE_BYTES
    pixels = max(1, int(tile_bytes / (classes * dtype.itemsize * reads)))
    width = min(out_size[1], max(1, int((pixels * TILE_ASPECT) ** 0.5)))
    height = min(out_size[0], max(1, pixels // width))
    rows = _spans(in_size[0], out_size[0], height, align_corners, device, dtype)
    columns = _spans(in_size[1], out_size[1], width, align_corners, device, dtype)
    buffer = logits.new_empty(height * classes * width, dtype=dtype)
    for image in range(logits.shape[0]):
        for row in rows:
            for column in columns:
                x = logits[image, :, row.input, column.input].transpose(0, 1).to(dtype)
                shape = (len(row.mix), classes, len(column.mix))
                wide = torch.mm(x.reshape(-1, x.shape[2]), column.mix.t())
                resized = buffer[: shape[0] * shape[1] * shape[2]].view(shape)
                torch.mm(row.mix, wide.view(x.shape[0], -1), out=resized.view(shape[0], -1))
                yield _Tile(resized, image, row, column)


def _forward(
    logits: Tensor,
    label: Tensor,
    class_weight: Tensor | None,
    pixel_weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    align_corners: bool,
    per_pixel: bool,
    with_grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    if class_weight is not None:
        class_weight = class_weight.to(accumulation_dtype(logits)).contiguous()
    if runs_triton(logits):
        from .upsample_cross_entropy_triton import cross_entropy_forward_triton as compute
    else:
        compute = _cross_entropy_forward_tiled
    with no_autocast(logits):
        return compute(
            logits,
            label,
            class_weight,
            pixel_weight,
            ignore_index,
            label_smoothing,
            align_corners,
            per_pixel,
            with_grad,
        )


def _backward(
    upstream: Tensor,
    logits: Tensor,
    label: Tensor,
    lse: Tensor,
    class_weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    align_corners: bool,
) -> Tensor:
    if class_weight is not None:
        class_weight = class_weight.to(lse.dtype).contiguous()
    if runs_triton(logits):
        from .upsample_cross_entropy_triton import cross_entropy_backward_triton as compute
    else:
        compute = _cross_entropy_backward_tiled
    with no_autocast(logits):
        return compute(
            upstream, logits, label, lse, class_weight, ignore_index, label_smoothing, align_corners
        )


if hasattr(torch.library, "custom_op"):  # torch >= 2.4: torch.compile does not look inside
    _cross_entropy_forward = torch.library.custom_op(
        "mmseg_papers::upsample_cross_entropy",
        _forward,
        mutates_args=(),
        schema="(Tensor logits, Tensor label, Tensor? class_weight, Tensor? pixel_weight, "
        "int ignore_index, float label_smoothing, bool align_corners, bool per_pixel, "
        "bool with_grad) -> (Tensor, Tensor, Tensor)",
    )
    _cross_entropy_backward = torch.library.custom_op(
        "mmseg_papers::upsample_cross_entropy_backward",
        _backward,
        mutates_args=(),
        schema="(Tensor upstream, Tensor logits, Tensor label, Tensor lse, Tensor? class_weight, "
        "int ignore_index, float label_smoothing, bool align_corners) -> Tensor",
    )

    @_cross_entropy_forward.register_fake
    def _(logits, label, _class_weight, _pixel_weight, _index, _smoothing, _align, per_pixel, grad):
        dtype = accumulation_dtype(logits)
        loss = logits.new_empty(label.shape if per_pixel else (), dtype=dtype)
        if not grad:
            kept = logits.new_empty(0, dtype=dtype)
        else:
            kept = torch.empty_like(loss if per_pixel else logits, dtype=dtype)
        return loss, logits.new_empty(3, dtype=dtype), kept

    @_cross_entropy_backward.register_fake
    def _(_upstream, logits, _label, lse, *_):
        return torch.empty_like(logits, dtype=lse.dtype)

else:
    _cross_entropy_forward, _cross_entropy_backward = _forward, _backward
