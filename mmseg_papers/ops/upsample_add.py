"""Sum of maps of several resolutions, resized to one size, with an optional ReLU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .export import is_exporting, is_traced
from .layout import is_channels_last, layout
from .once_differentiable import once_differentiable
from .precision import accumulation_dtype, check_floating_point
from .separable_bilinear import add_resized, is_separable_cheaper, resize_backward
from .triton_device import check_one_device, runs_triton

#: Bytes of the sum that are built at a time, four times as many in channels_last.
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

    No resized map is held: each is added to the output some channels at a time (CPU), or all are
    read by one kernel (CUDA). Half-precision maps are summed in float32. The backward pass keeps
    nothing but, for the ReLU, the output; it is deterministic.

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
        ValueError: If shapes, size or mode are not as described, or the devices differ.
    """
    _check(xs, size, mode, align_corners)
    xs = list(xs)
    if is_exporting():
        return upsample_add_reference(xs, size, mode=mode, align_corners=align_corners, relu=relu)
    size = list(xs[0].shape[2:] if size is None else size)
    # The dispatch of a registered operator takes as long as the sum of small maps.
    op = _upsample_add if is_traced() or xs[0].is_meta else _eager_upsample_add
    return op(xs, size, mode, align_corners, relu)


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
        check_floating_point(f"xs[{i}]", x)
        if x.dtype != xs[0].dtype:
            raise TypeError(
                f"xs must be of one dtype, but xs[{i}] is {x.dtype} and xs[0] {xs[0].dtype}"
            )
    check_one_device(**{f"xs[{i}]": x for i, x in enumerate(xs)})
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"size must be a height and a width of at least 1, got {tuple(size)}")


def _empty_sum(x: Tensor, size: Sequence[int]) -> Tensor:
    return torch.empty(
        (*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=layout(x)
    )


def _forward(
    xs: Sequence[Tensor], size: Sequence[int], mode: str, align_corners: bool, relu: bool
) -> Tensor:
    size = tuple(size)
    same = [x for x in xs if x.shape[2:] == size]
    others = [x for x in xs if x.shape[2:] != size]
    first = xs[0]
    if runs_triton(first):
        from .upsample_add_triton import upsample_add_triton

        out = _empty_sum(first, size)
        upsample_add_triton(xs, mode, align_corners, relu, out)
        return out
    if others and is_channels_last(first) and not _is_half(first):
        resized, *others = (x.contiguous(memory_format=torch.channels_last) for x in others)
        out = _resize(resized, size, mode, align_corners)
        for x in same:
            out.add_(x)
        for x in others:
            for n, channels in _blocks(out):
                part = x[n : n + 1, channels].contiguous(memory_format=torch.channels_last)
                out[n : n + 1, channels].add_(_resize(part, size, mode, align_corners))
        return out.relu_() if relu else out
    out = _empty_sum(first, size)
    if same and others and all(_is_product(x.shape[2:], size, mode, out) for x in others):
        out.copy_(same[0])
        for x in same[1:]:
            out.add_(x)
        add_resized(others, align_corners, out)
        return out.relu_() if relu else out
    dtype = accumulation_dtype(out)
    for n, channels in _blocks(out):
        block = out[n : n + 1, channels]
        total = torch.empty_like(block, dtype=dtype) if _is_half(out) else block
        resized = None
        for x in others:
            # PyTorch's channels_last kernel is faster by more than what the copies cost.
            part = x[n : n + 1, channels].to(dtype).contiguous(memory_format=torch.channels_last)
            part = _resize(part, size, mode, align_corners)
            resized = part if resized is None else resized.add_(part)
        if resized is None:
            total.zero_()
        else:
            _copy_channels_last(resized, total)
        for x in same:
            total.add_(x[n : n + 1, channels])
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
        and not is_channels_last(out)
        and is_separable_cheaper(in_size, size)
    )


def _is_half(x: Tensor) -> bool:
    return x.dtype in (torch.float16, torch.bfloat16)


def _blocks(out: Tensor) -> Iterator[tuple[int, slice]]:
    """Image and channels of the blocks that are resized at a time."""
    images, channels = out.shape[:2]
    step = _channels_of_a_block(out)
    for n in range(images):
        for start in range(0, channels, step):
            yield n, slice(start, start + step)


def _channels_of_a_block(x: Tensor) -> int:
    item = torch.finfo(accumulation_dtype(x)).bits // 8
    # Few channels of a channels_last map are slow to reach.
    n_bytes = 4 * BLOCK_BYTES if is_channels_last(x) else BLOCK_BYTES
    return max(n_bytes // (x.shape[2] * x.shape[3] * item), 1)


def _resize(x: Tensor, size: Sequence[int], mode: str, align_corners: bool) -> Tensor:
    corners = dict(align_corners=align_corners) if mode == "bilinear" else {}
    return F.interpolate(x, tuple(size), mode=mode, **corners)


def _copy_channels_last(source: Tensor, target: Tensor) -> None:
    """Copy a channels_last map (1, C, H, W) to one of any layout."""
    if target.is_contiguous():  # as matrices, which PyTorch transposes in twice the speed
        channels = source.shape[1]
        source = source.permute(0, 2, 3, 1).reshape(-1, channels)
        target.view(channels, -1).copy_(source.t())
    else:
        target.copy_(source)


def _resize_backward(
    grad: Tensor,
    heights: Sequence[int],
    widths: Sequence[int],
    mode: str,
    align_corners: bool,
) -> list[Tensor]:
    """Gradients of resized maps: the transposed interpolations of the sum's gradient."""
    sizes = list(zip(heights, widths, strict=True))
    if not runs_triton(grad) and all(_is_product(s, grad.shape[2:], mode, grad) for s in sizes):
        return resize_backward(grad.contiguous(), sizes, align_corners)
    gradients = [_empty_sum(grad, size) for size in sizes]
    if runs_triton(grad):
        from .upsample_add_triton import resize_backward_triton

        for gradient in gradients:
            resize_backward_triton(grad, mode, align_corners, gradient)
        return gradients
    step = grad.shape[1] if is_channels_last(grad) else _channels_of_a_block(grad)
    corners = () if mode == "nearest" else (align_corners,)
    backward = getattr(torch.ops.aten, f"upsample_{mode}2d_backward")
    for start in range(0, grad.shape[1], step):
        channels = slice(start, start + step)
        part = grad[:, channels].to(accumulation_dtype(grad))
        part = part.contiguous(memory_format=torch.channels_last)
        for gradient in gradients:
            result = gradient[:, channels]
            result.copy_(backward(part, part.shape[2:], result.shape, *corners))
    return gradients


def _save(ctx, xs, mode, align_corners, relu, out) -> None:
    ctx.sizes = [tuple(x.shape[2:]) for x in xs]
    ctx.mode, ctx.align_corners = mode, align_corners
    ctx.save_for_backward(*([out] if relu else []))


def _gradients(
    ctx, grad: Tensor, needed: Sequence[bool], resize_backward: Callable[..., list[Tensor]]
) -> list[Tensor | None]:
    for out in ctx.saved_tensors:
        grad = torch.ops.aten.threshold_backward(grad, out, 0)  # ReLU's
    size = tuple(grad.shape[2:])
    resized = [s for s, is_needed in zip(ctx.sizes, needed, strict=True) if is_needed and s != size]
    heights, widths = [h for h, _ in resized], [w for _, w in resized]
    if resized:
        gradients = iter(resize_backward(grad, heights, widths, ctx.mode, ctx.align_corners))
    return [
        None if not is_needed else grad if s == size else next(gradients)
        for s, is_needed in zip(ctx.sizes, needed, strict=True)
    ]


class _UpsampleAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx, size, mode, align_corners, relu, *xs):
        out = _forward(xs, size, mode, align_corners, relu)
        _save(ctx, xs, mode, align_corners, relu, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        needed = ctx.needs_input_grad[4:]
        return None, None, None, None, *_gradients(ctx, grad, needed, _resize_backward)


def _eager_upsample_add(xs, size, mode, align_corners, relu) -> Tensor:
    return _UpsampleAdd.apply(size, mode, align_corners, relu, *xs)


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
        schema="(Tensor grad, SymInt[] heights, SymInt[] widths, str mode, bool align_corners)"
        " -> Tensor[]",
    )

    @_upsample_add.register_fake
    def _(xs, size, mode, align_corners, relu):
        return _empty_sum(xs[0], size)

    @_resize_backward_op.register_fake
    def _(grad, heights, widths, mode, align_corners):
        return [_empty_sum(grad, size) for size in zip(heights, widths, strict=True)]

    def _setup_context(ctx, inputs, output) -> None:
        xs, _, mode, align_corners, relu = inputs
        ctx.needed = [x.requires_grad for x in xs]
        _save(ctx, xs, mode, align_corners, relu, output)

    def _backward(ctx, grad):
        return _gradients(ctx, grad, ctx.needed, _resize_backward_op), None, None, None, None

    _upsample_add.register_autograd(_backward, setup_context=_setup_context)

else:
    _upsample_add = _eager_upsample_add
