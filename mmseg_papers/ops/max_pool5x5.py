"""5x5 max pooling of stride 1, from shifted maxima; for training with one byte an element."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .export import is_exporting
from .layout import is_channels_last, layout
from .once_differentiable import once_differentiable
from .precision import check_floating_point
from .triton_device import runs_triton

#: Values of a map that are pooled at a time; what a pass reads and writes then stays in the cache.
BLOCK = 1 << 17
#: Rows of a block at least: it reads four more than it writes.
MIN_ROWS = 8


def max_pool5x5_reference(x: Tensor) -> Tensor:
    """Plain form of :func:`max_pool5x5`."""
    return F.max_pool2d(x, kernel_size=5, stride=1, padding=2)


def max_pool5x5(x: Tensor) -> Tensor:
    """Maximum of the 5x5 window around every position; nothing counts outside the map.

    A window's maximum is the maximum over its columns, then over its rows, and a run of five is
    covered by two overlapping runs of four: six comparisons instead of 24, on blocks of the map
    that fit the cache. The result is PyTorch's to the bit. For the backward pass one byte an
    element is kept, the row and column of the maximum within its window, where PyTorch keeps the
    input and an int64 index; the gradient is PyTorch's to the bit, too (of equal values the first
    in row-major order receives it; on a CPU not where the map holds NaN), and deterministic on
    CUDA.

    Time and memory against the plain form are listed in docs/benchmarks.md.

    Args:
        x (Tensor): (N, C, H, W), floating point.

    Returns:
        Tensor: (N, C, H, W), in the input's memory layout.

    Raises:
        TypeError: If the map is not floating point.
        ValueError: If it is not (N, C, H, W) with H and W at least 1.
    """
    if x.dim() != 4 or 0 in x.shape[2:]:
        raise ValueError(f"x must be a map (N, C, H, W), H and W at least 1, got {tuple(x.shape)}")
    check_floating_point("x", x)
    if is_exporting():
        return max_pool5x5_reference(x)
    return _MaxPool5x5.apply(x, torch.is_grad_enabled() and x.requires_grad)[0]


@MODELS.register_module()
class MaxPool5x5(nn.Module):
    """Module form of :func:`max_pool5x5`, for ``nn.MaxPool2d(5, stride=1, padding=2)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool a map (N, C, H, W); its size stays."""
        return max_pool5x5(x)


def _dense(x: Tensor) -> Tensor:
    return x if is_channels_last(x) else x.contiguous()


def _grid(x: Tensor) -> Tensor:
    """View of a dense map as (maps, H, W, values that lie together)."""
    if is_channels_last(x):
        return x.permute(0, 2, 3, 1)
    return x.view(-1, *x.shape[2:], 1)


def _blocks(grid: Tensor) -> Iterator[tuple[slice, slice]]:
    """Maps and rows of blocks of about :data:`BLOCK` values."""
    maps, height, width, inner = grid.shape
    rows = min(height, max(BLOCK // (width * max(inner, 1)), MIN_ROWS))
    step = max(BLOCK // max(rows * width * inner, 1), 1)
    for m in range(0, maps, step):
        for start in range(0, height, rows):
            yield slice(m, min(m + step, maps)), slice(start, min(start + rows, height))


def _reach(rows: slice, height: int) -> tuple[slice, slice]:
    """The rows that the windows of ``rows`` read, and where these lie among all four more."""
    top, bottom = max(rows.start - 2, 0), min(rows.stop + 2, height)
    above = top - (rows.start - 2)
    return slice(top, bottom), slice(above, above + bottom - top)


def _corners(height: int, width: int, device: torch.device) -> Tensor:
    """Flat position of the first element of every window, (H, W, 1), int32."""
    rows, columns = (
        torch.arange(size, dtype=torch.int32, device=device) - 2 for size in (height, width)
    )
    return (rows[:, None] * width + columns)[..., None]


def _raise(best: Tensor, value: Tensor, code: Tensor, value_code: Tensor | int) -> None:
    """Take ``value`` and its code where it is above the best so far; codes only grow."""
    above = torch.gt(value, best).view(torch.uint8)
    torch.maximum(best, value, out=best)
    torch.maximum(code, above.mul_(value_code), out=code)


def _forward(x: Tensor, with_code: bool) -> tuple[Tensor, Tensor]:
    """The pooled map and, ``with_code``, 8 * row + column of each maximum within its window."""
    x = _dense(x)
    out = torch.empty_like(x)
    code = torch.empty_like(x, dtype=torch.uint8) if with_code else x.new_empty(0).byte()
    if runs_triton(x):
        from .max_pool5x5_triton import max_pool5x5_triton

        max_pool5x5_triton(x, out, code if with_code else None)
    elif not with_code:
        pool_into(x, out)
    elif is_channels_last(x) and x.shape[3] >= 5:
        _pool_with_code_channels_last(x, out, code)
    else:
        _pool_with_code(_grid(x), _grid(out), _grid(code))
    return out, code


def pool_into(x: Tensor, out: Tensor) -> None:
    """Fill ``out`` with the pooled ``x``, both of one dense layout, not on CUDA.

    A block is put into a buffer with -inf around it. There neighbours in a row are ``column``
    values apart and neighbours in a column ``row``, so one maximum of two shifted pieces of memory
    serves all positions; what it makes of the ends of rows is not read.
    """
    if x.numel() == 0:
        return
    source, target = _grid(x), _grid(out)
    _, height, width, column = source.shape
    row = (width + 4) * column
    shape = None
    for maps, rows in _blocks(source):
        read, inside = _reach(rows, height)
        num_rows = rows.stop - rows.start
        needed = maps.stop - maps.start, num_rows + 4, width + 4, column
        if needed != shape:  # the first and the last blocks
            shape = needed
            padded = x.new_full(shape, -torch.inf)
            flat, (a, b, c) = padded.view(-1), x.new_empty((3, padded.numel()))
        padded[:, inside, 2:-2] = source[maps, read]
        padded[:, : inside.start] = -torch.inf
        padded[:, inside.stop :] = -torch.inf
        _max_of_four(flat, column, a, b)
        end = len(flat) - 4 * column
        torch.maximum(b[:end], flat[4 * column :], out=a[:end])  # of five columns
        _max_of_four(a, row, b, c)
        upper = c.view(shape)[:, :num_rows, :width]
        torch.maximum(upper, a.view(shape)[:, 4:, :width], out=target[maps, rows])


def _max_of_four(x: Tensor, step: int, two: Tensor, out: Tensor) -> None:
    """Maxima of the value at each place of ``x`` and the three at the next steps."""
    end = len(x) - step
    torch.maximum(x[:end], x[step:], out=two[:end])
    torch.maximum(two[: end - 2 * step], two[2 * step : end], out=out[: end - 2 * step])


def _pool_with_code(source: Tensor, target: Tensor, codes: Tensor) -> None:
    _, height, width, _ = source.shape
    # Where a window begins outside the map, the first position inside.
    first_column = (2 - torch.arange(width)).clamp(min=0).to(torch.uint8)[:, None]
    for maps, rows in _blocks(source):
        read, inside = _reach(rows, height)
        block = source[maps, read]
        wide = F.pad(block, (0, 0, 2, 2), value=-torch.inf)
        num_rows = rows.stop - rows.start
        shape = len(block), num_rows + 4, *block.shape[2:]
        tall = block.new_full(shape, -torch.inf)
        tall_code = torch.empty(shape, dtype=torch.uint8, device=block.device)
        best, column = tall[:, inside], tall_code[:, inside]
        best.copy_(wide[:, :, :width])
        column.copy_(first_column.expand_as(column))
        for j in range(1, 5):
            _raise(best, wide.narrow(2, j, width), column, j)
        for i in range(inside.start):
            torch.add(column[:, 0], 8 * (inside.start - i), out=tall_code[:, i])
        best, code = target[maps, rows], codes[maps, rows]
        best.copy_(tall[:, :num_rows])
        code.copy_(tall_code[:, :num_rows])
        for i in range(1, 5):
            row_code = tall_code.narrow(1, i, num_rows) + 8 * i
            _raise(best, tall.narrow(1, i, num_rows), code, row_code)


def _pool_with_code_channels_last(x: Tensor, out: Tensor, code: Tensor) -> None:
    """PyTorch's pooling, vectorised in this layout; its indices become codes an image at a time."""
    height, width = x.shape[2:]
    corners = _corners(height, width, x.device)
    for n in range(len(x)):
        image = slice(n, n + 1)
        out[image], index = F.max_pool2d(x[image], 5, 1, 2, return_indices=True)
        index, codes = _grid(index), _grid(code[image])
        for maps, rows in _blocks(index):
            offset = index[maps, rows].int().sub_(corners[rows])
            row = ((offset.float() + 0.5) / width).int()  # as width >= 5: columns are 0..4
            codes[maps, rows] = offset.add_(row, alpha=8 - width)


def _backward(grad: Tensor, code: Tensor) -> Tensor:
    """Give each gradient to the position that its window's code names."""
    grad = grad.contiguous(memory_format=layout(code))
    out = torch.empty_like(grad)
    if runs_triton(grad):
        from .max_pool5x5_triton import max_pool5x5_backward_triton

        max_pool5x5_backward_triton(grad, code, out)
        return out
    channels, height, width = grad.shape[1:]
    corners = _corners(height, width, grad.device)
    step = channels if is_channels_last(code) else max(BLOCK // (height * width), 1)
    for n in range(len(grad)):
        for channel in range(0, channels, step):
            part = slice(n, n + 1), slice(channel, channel + step)
            index = torch.empty_like(code[part], dtype=torch.int64)
            codes, positions = _grid(code[part]), _grid(index)
            for maps, rows in _blocks(codes):
                block = codes[maps, rows]
                position = block.int().add_((block >> 3).int(), alpha=width - 8)
                positions[maps, rows] = position.add_(corners[rows])
            out[part] = torch.ops.aten.max_pool2d_with_indices_backward(
                grad[part], grad[part], [5, 5], [1, 1], [2, 2], [1, 1], False, index
            )
    return out


class _MaxPool5x5(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, with_code):
        out, code = _max_pool5x5(x, with_code)
        ctx.save_for_backward(code)
        ctx.set_materialize_grads(False)  # zeros for the map that is not differentiable
        ctx.mark_non_differentiable(code)
        return out, code

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        if grad is None:
            return None, None
        return _max_pool5x5_backward(grad, *ctx.saved_tensors), None


if hasattr(torch.library, "custom_op"):  # torch >= 2.4: torch.compile does not look inside
    _max_pool5x5 = torch.library.custom_op(
        "mmseg_papers::max_pool5x5",
        _forward,
        mutates_args=(),
        schema="(Tensor x, bool with_code) -> (Tensor, Tensor)",
    )
    _max_pool5x5_backward = torch.library.custom_op(
        "mmseg_papers::max_pool5x5_backward",
        _backward,
        mutates_args=(),
        schema="(Tensor grad, Tensor code) -> Tensor",
    )

    @_max_pool5x5.register_fake
    def _(x, with_code):
        x = _dense(x)
        code = torch.empty_like(x, dtype=torch.uint8)
        return torch.empty_like(x), code if with_code else x.new_empty(0, dtype=torch.uint8)

    @_max_pool5x5_backward.register_fake
    def _(grad, code):
        return torch.empty_like(code, dtype=grad.dtype)

else:
    _max_pool5x5, _max_pool5x5_backward = _forward, _backward
