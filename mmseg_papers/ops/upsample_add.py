"""Sum of maps of several resolutions, resized to one size, with an optional ReLU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .bilinear import bilinear_taps
from .export import is_exporting
from .precision import accumulation_dtype
from .separable_bilinear import add_resized, is_separable_cheaper, resize_backward

#: Bytes of the sum that are built at a time.
BLOCK_BYTES = 4 << 20


def upsample_add_reference(
    xs: Sequence[Tensor],
    size: tuple[int, int] | None = None,
    *,
    mode: str = "bilinear",
    align_corners: bool = False,
    relu: bool = False,
) -> Tensor:
    """Plain form of :func:`upsample_add`: resize, add, activate."""
    size = xs[0].shape[2:] if size is None else size
    corners = dict(align_corners=align_corners) if mode == "bilinear" else {}
    y = sum(F.interpolate(x, size, mode=mode, **corners) for x in xs)
    return F.relu(y) if relu else y


def upsample_add(
    xs: Sequence[Tensor],
    size: tuple[int, int] | None = None,
    *,
    mode: str = "bilinear",
    align_corners: bool = False,
    relu: bool = False,
) -> Tensor:
    """Sum maps of several resolutions, each resized to one size, in one output.

    No resized map is held: each is added to the output some rows or channels at a time (CPU), or
    all are read by one kernel (CUDA). Half-precision maps are summed in float32. The backward pass
    keeps nothing but, for the ReLU, the output; it is deterministic.

    Time and memory against the plain form are listed in docs/benchmarks.md.

    Args:
        xs (Sequence[Tensor]): Maps (N, C, h_i, w_i) of one floating dtype and device.
        size (tuple[int, int], optional): Height and width of the sum. Default: the first map's.
        mode (str): ``'bilinear'`` or ``'nearest'``, as ``torch.nn.functional.interpolate``.
            Default: 'bilinear'.
        align_corners (bool): As for ``interpolate``; bilinear only. Default: False.
        relu (bool): Whether to apply a ReLU to the sum. Default: False.

    Returns:
        Tensor: (N, C, H, W), in the first map's memory layout; never an input itself.

    Raises:
        TypeError: If the maps are not floating point or differ in dtype.
        ValueError: If shapes, size or mode are not as described.
    """
    _check(xs, size, mode, align_corners)
    xs = list(xs)
    if is_exporting():
        return upsample_add_reference(xs, size, mode=mode, align_corners=align_corners, relu=relu)
    size = list(xs[0].shape[2:] if size is None else size)
    return _upsample_add(xs, size, mode, align_corners, relu)


@MODELS.register_module()
class UpsampleAdd(nn.Module):
    """Module form of :func:`upsample_add`, and a plain resize of a single map.

    It can be built by mmcv's ``build_upsample_layer(dict(type='UpsampleAdd', scale_factor=2))``.

    Args:
        mode (str): ``'bilinear'`` or ``'nearest'``. Default: 'bilinear'.
        align_corners (bool): As for ``torch.nn.functional.interpolate``. Default: False.
        relu (bool): Whether to apply a ReLU to the sum. Default: False.
        scale_factor (float, optional): The output's size is the first map's times this, where
            the call gives no size. Default: 1.
    """

    def __init__(
        self,
        mode: str = "bilinear",
        align_corners: bool = False,
        relu: bool = False,
        scale_factor: float = 1,
    ) -> None:
        super().__init__()
        _check_mode(mode, align_corners)
        self.mode = mode
        self.align_corners = align_corners
        self.relu = relu
        self.scale_factor = scale_factor

    def forward(self, xs: Tensor | Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Sum of the maps at ``size`` (H, W); a tensor is taken as one map.

        Args:
            xs (Tensor | Sequence[Tensor]): (N, C, h, w), one or several.
            size (tuple[int, int], optional): Default: as the constructor says.

        Returns:
            Tensor: (N, C, H, W).
        """
        xs = [xs] if isinstance(xs, Tensor) else xs
        if size is None and self.scale_factor != 1:
            size = tuple(int(length * self.scale_factor) for length in xs[0].shape[2:])
        return upsample_add(
            xs, size, mode=self.mode, align_corners=self.align_corners, relu=self.relu
        )

    def extra_repr(self) -> str:
        """The options, for ``print``."""
        return (
            f"mode={self.mode!r}, align_corners={self.align_corners}, relu={self.relu}, "
            f"scale_factor={self.scale_factor}"
        )


def _check_mode(mode: str, align_corners: bool) -> None:
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"mode must be 'bilinear' or 'nearest', got {mode!r}")
    if align_corners and mode == "nearest":
        raise ValueError("align_corners is an option of mode 'bilinear', got mode 'nearest'")


def _check(xs, size, mode, align_corners) -> None:
    _check_mode(mode, align_corners)
    if isinstance(xs, Tensor) or len(xs) == 0:
        raise ValueError("xs must be a sequence of at least one map (N, C, h, w)")
    for i, x in enumerate(xs):
        if x.dim() != 4 or x.shape[:2] != xs[0].shape[:2] or 0 in x.shape[2:]:
            raise ValueError(
                f"xs must be maps (N, C, h, w) of one N and C, h and w at least 1, but xs[{i}] is "
                f"{tuple(x.shape)} and xs[0] {tuple(xs[0].shape)}"
            )
        if not x.is_floating_point() or x.dtype != xs[0].dtype:
            raise TypeError(
                f"xs must be of one floating dtype, but xs[{i}] is {x.dtype} and xs[0] "
                f"{xs[0].dtype}"
            )
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"size must be a height and a width of at least 1, got {tuple(size)}")


def _layout(x: Tensor) -> torch.memory_format:
    is_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format


def _empty_sum(x: Tensor, size: Sequence[int]) -> Tensor:
    return torch.empty(
        (*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=_layout(x)
    )


def _forward(
    xs: Sequence[Tensor], size: Sequence[int], mode: str, align_corners: bool, relu: bool
) -> Tensor:
    if _resizes_into_sum(xs, size):
        corners = dict(align_corners=align_corners) if mode == "bilinear" else {}
        out = None
        for x in sorted(xs, key=lambda x: x.shape[2:] == tuple(size)):  # the resized one first
            out = F.interpolate(x, size, mode=mode, **corners) if out is None else out.add_(x)
        return out.relu_() if relu else out
    out = _empty_sum(xs[0], size)
    if out.is_cuda:
        from .upsample_add_triton import upsample_add_triton

        upsample_add_triton(xs, mode, align_corners, relu, out)
        return out
    size = tuple(size)
    same = [x for x in xs if x.shape[2:] == size]
    others = [x for x in xs if x.shape[2:] != size]
    if same and others and all(_is_product(x.shape[2:], size, mode, out) for x in others):
        out.copy_(same[0])
        for x in same[1:]:
            out.add_(x)
        add_resized(others, align_corners, out)
        return out.relu_() if relu else out
    if same and not _is_half(out) and out.numel() * out.element_size() <= BLOCK_BYTES:
        # One block: PyTorch's resize of a whole map has less to set up.
        corners = dict(align_corners=align_corners) if mode == "bilinear" else {}
        out.copy_(same[0])
        for x in same[1:]:
            out.add_(x)
        for x in others:
            out.add_(F.interpolate(x, size, mode=mode, **corners))
        return out.relu_() if relu else out
    runs = [list(_runs(x.shape[2], size[0], mode, align_corners, out)) for x in others]
    for n, channels, (start, stop) in _blocks(out):
        block = out[n : n + 1, channels, start:stop]
        total = torch.zeros_like(block, dtype=accumulation_dtype(block)) if _is_half(out) else block
        if same:
            total.copy_(same[0][n : n + 1, channels, start:stop])
            for x in same[1:]:
                total.add_(x[n : n + 1, channels, start:stop])
        elif total is block:
            total.zero_()
        for x, rows in zip(others, runs, strict=True):
            _add_resized(x[n : n + 1, channels], rows, start, total, mode, align_corners)
        if relu:
            total.relu_()
        if total is not block:
            block.copy_(total)
    return out


def _is_product(in_size: Sequence[int], size: Sequence[int], mode: str, out: Tensor) -> bool:
    """Whether a map is resized by matrix products."""
    return (
        mode == "bilinear"
        and not _is_half(out)
        and _layout(out) == torch.contiguous_format
        and is_separable_cheaper(in_size, size)
    )


def _resizes_into_sum(xs: Sequence[Tensor], size: Sequence[int]) -> bool:
    """Whether one map is resized, so that PyTorch's result of that can take up the others."""
    others = [x for x in xs if x.shape[2:] != tuple(size)]
    return (
        len(others) == 1
        and not (others[0].is_cuda or _is_half(others[0]) or others[0].numel() == 0)
        and _layout(others[0]) == _layout(xs[0])
    )


def _is_half(x: Tensor) -> bool:
    return x.dtype in (torch.float16, torch.bfloat16)


def _blocks(out: Tensor) -> Iterator[tuple[int, slice, tuple[int, int]]]:
    """Image, channels and rows of blocks of :data:`BLOCK_BYTES` that lie together in memory."""
    images, channels, height, width = out.shape
    item = torch.finfo(accumulation_dtype(out)).bits // 8
    for n in range(images):
        if _layout(out) == torch.channels_last:
            step = max(BLOCK_BYTES // (channels * width * item), 1)
            for start in range(0, height, step):
                yield n, slice(None), (start, min(start + step, height))
        else:
            step = max(BLOCK_BYTES // (height * width * item), 1)
            for start in range(0, channels, step):
                yield n, slice(start, start + step), (0, height)


def _runs(
    in_size: int, out_size: int, mode: str, align_corners: bool, out: Tensor
) -> Iterator[tuple[int, int, int, int, Tensor | None]]:
    """Runs of output rows that read the same source rows: start, stop, lower, upper, weights."""
    if mode == "nearest":
        source = torch.arange(in_size, dtype=torch.float32)[None, None]
        lower = upper = F.interpolate(source, out_size, mode="nearest").flatten().long().tolist()
        weight = None
    else:
        lower, upper, weight = bilinear_taps(
            in_size, out_size, align_corners, dtype=accumulation_dtype(out)
        )
        lower, upper, weight = lower.tolist(), upper.tolist(), weight[:, None].to(out.device)
    start = 0
    while start < out_size:
        stop = start + 1
        while stop < out_size and lower[stop] == lower[start]:
            stop += 1
        run = None if weight is None else weight[start:stop]
        yield start, stop, lower[start], upper[start], run
        start = stop


def _add_resized(
    x: Tensor,
    runs: Sequence[tuple[int, int, int, int, Tensor | None]],
    start: int,
    total: Tensor,
    mode: str,
    align_corners: bool,
) -> None:
    """Add rows [start, start + total's height) of the resized ``x`` to ``total``."""
    height, width = total.shape[2:]
    runs = [run for run in runs if run[1] > start and run[0] < start + height]
    first, last = runs[0][2], runs[-1][3]
    x = x[:, :, first : last + 1].to(total.dtype)
    if x.shape[3] != width:
        x = _resize_columns(x, width, mode, align_corners)
    for begin, end, lower, upper, weight in runs:
        skipped = max(start - begin, 0)
        band = total[:, :, max(begin - start, 0) : end - start]
        if weight is None:
            band.add_(x[:, :, lower - first, None])
        else:
            weight = weight[skipped : skipped + band.shape[2]]
            band.addcmul_(x[:, :, upper - first, None], weight)
            band.addcmul_(x[:, :, lower - first, None], 1 - weight)


def _resize_columns(x: Tensor, width: int, mode: str, align_corners: bool) -> Tensor:
    if mode == "nearest":
        return F.interpolate(x, (x.shape[2], width), mode=mode)
    if _layout(x) == torch.channels_last:  # vectorised over the channels
        return F.interpolate(x, (x.shape[2], width), mode=mode, align_corners=align_corners)
    rows = x.reshape(1, -1, x.shape[3])
    rows = F.interpolate(rows, width, mode="linear", align_corners=align_corners)
    return rows.view(*x.shape[:3], width)


def _resize_backward(
    grad: Tensor, in_size: Sequence[int], mode: str, align_corners: bool
) -> Tensor:
    """Gradient of one resized map: the transposed interpolation of the sum's gradient."""
    if grad.is_cuda:
        from .upsample_add_triton import resize_backward_triton

        out = _empty_sum(grad, in_size)
        resize_backward_triton(grad, mode, align_corners, out)
        return out
    channels, height, width = grad.shape[1:]
    step = channels
    if _layout(grad) != torch.channels_last:
        if _is_product(in_size, (height, width), mode, grad):
            return resize_backward(grad.contiguous(), in_size, align_corners)
        item = torch.finfo(accumulation_dtype(grad)).bits // 8
        step = max(BLOCK_BYTES // (height * width * item), 1)
    out = _empty_sum(grad, in_size)
    for part, result in zip(grad.split(step, 1), out.split(step, 1), strict=True):
        # PyTorch's channels_last kernel is faster by more than what the copies cost.
        wide = part.to(accumulation_dtype(grad)).contiguous(memory_format=torch.channels_last)
        sizes = [height, width], [*part.shape[:2], *in_size]
        if mode == "nearest":
            result.copy_(torch.ops.aten.upsample_nearest2d_backward(wide, *sizes))
        else:
            result.copy_(torch.ops.aten.upsample_bilinear2d_backward(wide, *sizes, align_corners))
    return out


def _save(ctx, xs, mode, align_corners, relu, out) -> None:
    ctx.sizes = [tuple(x.shape[2:]) for x in xs]
    ctx.mode, ctx.align_corners = mode, align_corners
    ctx.save_for_backward(*([out] if relu else []))


def _gradients(ctx, grad: Tensor, needed: Sequence[bool]) -> list[Tensor | None]:
    for out in ctx.saved_tensors:
        grad = torch.ops.aten.threshold_backward(grad, out, 0)  # ReLU's
    return [
        None
        if not is_needed
        else grad
        if size == tuple(grad.shape[2:])
        else _resize_backward_op(grad, size, ctx.mode, ctx.align_corners)
        for size, is_needed in zip(ctx.sizes, needed, strict=True)
    ]


if hasattr(torch.library, "custom_op"):  # torch >= 2.4: torch.compile does not look inside
    _upsample_add = torch.library.custom_op(
        "mmseg_papers::upsample_add",
        _forward,
        mutates_args=(),
        schema="(Tensor[] xs, SymInt[2] size, str mode, bool align_corners, bool relu) -> Tensor",
    )
    _resize_backward_op = torch.library.custom_op(
        "mmseg_papers::resize_backward",
        _resize_backward,
        mutates_args=(),
        schema="(Tensor grad, SymInt[2] in_size, str mode, bool align_corners) -> Tensor",
    )

    @_upsample_add.register_fake
    def _(xs, size, mode, align_corners, relu):
        return _empty_sum(xs[0], size)

    @_resize_backward_op.register_fake
    def _(grad, in_size, mode, align_corners):
        return _empty_sum(grad, in_size)

    def _setup_context(ctx, inputs, output) -> None:
        xs, _, mode, align_corners, relu = inputs
        ctx.needed = [x.requires_grad for x in xs]
        _save(ctx, xs, mode, align_corners, relu, output)

    def _backward(ctx, grad):
        return _gradients(ctx, grad, ctx.needed), None, None, None, None

    _upsample_add.register_autograd(_backward, setup_context=_setup_context)

else:
    _resize_backward_op = _resize_backward

    class _UpsampleAdd(torch.autograd.Function):
        @staticmethod
        def forward(ctx, size, mode, align_corners, relu, *xs):
            out = _forward(xs, size, mode, align_corners, relu)
            _save(ctx, xs, mode, align_corners, relu, out)
            return out

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad):
            return None, None, None, None, *_gradients(ctx, grad, ctx.needs_input_grad[4:])

    def _upsample_add(xs, size, mode, align_corners, relu):
        return _UpsampleAdd.apply(size, mode, align_corners, relu, *xs)
