"""BN - ReLU - 1x1 conv (- average pool) that holds the activation a strip of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm import (
    Batch,
    NormState,
    is_batch_norm,
    subtract_statistics_gradient,
    update_running_statistics,
)
from .export import is_traced
from .once_differentiable import once_differentiable
from .plain_layers import is_dense_conv
from .precision import accumulation_dtype, autocast_dtype, no_autocast

#: Bytes of activations that are made at a time on the CPU, so that they stay in a core's cache.
STRIP_BYTES = 1 << 19


def norm_relu_conv1x1_reference(
    x: Tensor, norm: nn.Module, conv: nn.Conv2d, pool: bool = False
) -> Tensor:
    """Plain form of :func:`norm_relu_conv1x1`: normalise, ReLU, convolve, pool."""
    x = conv(F.relu(norm(x), inplace=True))
    return F.avg_pool2d(x, 2) if pool else x


def norm_relu_conv1x1(x: Tensor, norm: nn.Module, conv: nn.Conv2d, pool: bool = False) -> Tensor:
    """DenseNet's transition without the map between its norm and its conv.

    Each strip of rows is normalised, pooled and multiplied while it is in the cache. The pool runs
    before the conv (they commute), which then sees a quarter of the positions. The backward pass
    makes the activation anew from ``x``, the only map that is kept; running statistics are updated
    once. ``SyncBatchNorm`` shares its sums between processes.

    The plain form is used for other norms and convs, for such with hooks, for maps smaller than the
    pool, empty batches, export and ``torch.compile``.

    Args:
        x (Tensor): (N, C, H, W), floating point.
        norm (nn.Module): Of C channels.
        conv (nn.Conv2d): 1x1, of C channels, stride 1.
        pool (bool): Whether a 2x2 average pool of stride 2 follows. Default: False.

    Returns:
        Tensor: (N, M, H, W), with ``pool`` (N, M, H // 2, W // 2), channels_last.

    Raises:
        ValueError: If a batch norm has one value a channel to train on.
    """
    is_plain = is_batch_norm(norm) and is_dense_conv(conv, 1)
    if is_traced() or x.numel() == 0 or (pool and min(x.shape[2:]) < 2) or not is_plain:
        return norm_relu_conv1x1_reference(x, norm, conv, pool)
    dtype = autocast_dtype(x)
    batch = Batch.of(x, norm) if norm.training else None
    with no_autocast(x):
        out, mean, variance = _NormReluConv1x1.apply(
            x.to(dtype).contiguous(memory_format=torch.channels_last),
            NormState.of(norm),
            batch,
            pool,
            norm.weight,
            norm.bias,
            conv.weight.to(dtype),
            None if conv.bias is None else conv.bias.to(dtype),
        )
    if norm.training:
        update_running_statistics(norm, mean, variance, batch.count)
    return out


class _NormReluConv1x1(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_map, norm, batch, pool, weight, bias, kernel, offset):
        x = positions(x_map)
        ctx.uses_batch, ctx.batch, ctx.pool, ctx.eps = norm.uses_batch, batch, pool, norm.eps
        if norm.uses_batch:
            norm = norm.filled(*batch.moments(x.flatten(0, 2)))
        z = relu_conv1x1(x, norm.affine(weight, bias), kernel.flatten(1), offset, pool=pool)
        ctx.save_for_backward(x_map, norm.mean, norm.variance, weight, bias, kernel, offset)
        if not ctx.uses_batch:
            return z, None, None
        ctx.mark_non_differentiable(norm.mean, norm.variance)
        return z, norm.mean, norm.variance

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        x_map, mean, variance, weight, bias, kernel, offset = ctx.saved_tensors
        x = positions(x_map)
        norm = NormState(ctx.eps, mean, variance)
        scale, shift = norm.affine(weight, bias)
        g_z = positions(grad)
        g_x = torch.zeros(x.shape, dtype=accumulation_dtype(x), device=x.device)
        g_kernel, g_bias, dot = relu_conv1x1_backward(
            x, (scale, shift), kernel.flatten(1), g_z, g_x, pool=ctx.pool
        )
        g_weight = (dot - mean * g_bias) * norm.invstd()
        if ctx.uses_batch:
            terms = torch.stack([scale * g_bias, scale * norm.invstd() * g_weight])
            subtract_statistics_gradient(
                g_x.flatten(0, 2), x.flatten(0, 2), mean, *ctx.batch.mean(terms)
            )
        g_offset = None if offset is None else g_z.flatten(0, 2).sum(0)
        g_kernel = g_kernel.view_as(kernel)
        return maps(g_x).to(x.dtype), None, None, None, g_weight, g_bias, g_kernel, g_offset


def positions(x: Tensor) -> Tensor:
    """A map (N, C, H, W) as (N, H, W, C), of the same memory if it is channels_last."""
    return x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


def maps(x: Tensor) -> Tensor:
    """Positions (N, H, W, C) as a channels_last map (N, C, H, W) of the same memory."""
    return x.permute(0, 3, 1, 2)


def relu_conv1x1(
    x: Tensor,
    affine: tuple[Tensor, Tensor] | None,
    kernel: Tensor,
    offset: Tensor | None,
    *,
    pool: bool = False,
    relu: bool = False,
) -> Tensor:
    """Affine map, ReLU, 2x2 average pool, matrix product, ReLU.

    Args:
        x (Tensor): (N, H, W, C), channels side by side in memory.
        affine (tuple[Tensor, Tensor], optional): Scale and shift (C,) before the ReLU.
        kernel (Tensor): (M, C).
        offset (Tensor, optional): (M,).
        pool (bool): Default: False.
        relu (bool): Whether a second ReLU follows the product. Default: False.

    Returns:
        Tensor: (N, M, H, W), with ``pool`` (N, M, H // 2, W // 2), a channels_last map. It is no
        view, which autograd would not let a caller change in place.
    """
    images, height, width, channels = x.shape
    size = (height // 2, width // 2) if pool else (height, width)
    z = torch.empty(
        (images, len(kernel), *size),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    z_rows = positions(z).flatten(0, 2)
    kernel = (kernel / 4 if pool else kernel).t().contiguous()
    total, part = _Scratch(x), _Scratch(x)
    for views, rows in _strips(x, pool):
        h = _activate(views[0], affine, total)
        for view in views[1:]:
            h += _activate(view, affine, part)
        h = h.view(-1, channels)
        if offset is None:
            torch.mm(h, kernel, out=z_rows[rows])
        else:
            torch.addmm(offset, h, kernel, out=z_rows[rows])
        if relu:
            z_rows[rows].relu_()
    return z


def relu_conv1x1_backward(
    x: Tensor,
    affine: tuple[Tensor, Tensor] | None,
    kernel: Tensor,
    g_z: Tensor,
    g_x: Tensor,
    *,
    pool: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of :func:`relu_conv1x1` for statistics that do not depend on ``x``.

    Args:
        x (Tensor): (N, H, W, C).
        affine (tuple[Tensor, Tensor], optional): As in the forward pass.
        kernel (Tensor): (M, C).
        g_z (Tensor): Of the result before its second ReLU.
        g_x (Tensor): (N, H, W, C); the gradient of ``x`` is added to it.
        pool (bool): As in the forward pass.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Gradient of the kernel, of the shift, and sums over positions
        of x times the gradient behind the ReLU (of the scale); the last two are 0 without one.
    """
    channels, wide = x.shape[3], g_x.dtype
    g_rows = g_z.flatten(0, 2).to(x.dtype)
    kernel = kernel / 4 if pool else kernel
    g_kernel = torch.zeros(kernel.shape, dtype=wide, device=x.device)
    g_shift = torch.zeros(channels, dtype=wide, device=x.device)
    dot = torch.zeros_like(g_shift)
    scratch = [_Scratch(x) for _ in range(6 if pool else 2)]
    strips = zip(_strips(x, pool), _strips(g_x, pool, like=x), strict=True)
    for (views, rows), (targets, _) in strips:
        active = [_activate(v, affine, s) for v, s in zip(views, scratch[1:], strict=False)]
        h = active[0]
        if pool:
            h = scratch[-1](h.shape).copy_(h)
            for other in active[1:]:
                h += other
        h, g_strip = h.view(-1, channels), g_rows[rows]
        if wide == x.dtype:
            g_kernel.addmm_(g_strip.t(), h)
        else:
            g_kernel += g_strip.t() @ h
        g_h = torch.mm(g_strip, kernel, out=scratch[0](h.shape)).view(active[0].shape)
        for view, target, a in zip(views, targets, active, strict=True):
            torch.ops.aten.threshold_backward.grad_input(g_h, a, 0, grad_input=a)
            if affine is None:
                target += a
                continue
            target.addcmul_(a, affine[0])
            a = a.to(wide)
            g_shift += a.flatten(0, -2).sum(0)
            dot += a.mul_(view).flatten(0, -2).sum(0)
    return g_kernel / 4 if pool else g_kernel, g_shift, dot


class _Scratch:
    """Memory that strips use one after the other."""

    def __init__(self, like: Tensor) -> None:
        self.memory = like.new_empty(0)

    def __call__(self, shape: torch.Size) -> Tensor:
        if self.memory.numel() < shape.numel():
            self.memory = self.memory.new_empty(shape.numel())
        return self.memory[: shape.numel()].view(shape)


def _activate(x: Tensor, affine: tuple[Tensor, Tensor] | None, scratch: _Scratch) -> Tensor:
    out = scratch(x.shape)
    if affine is None:
        return torch.clamp_min(x, 0, out=out)
    scale, shift = affine
    return torch.addcmul(shift, x, scale, out=out).relu_()


def _strips(
    x: Tensor, pool: bool, like: Tensor | None = None
) -> Iterator[tuple[list[Tensor], slice]]:
    """Strips of (N, H, W, C), each as high as ``like``'s (default: ``x``'s) fit the cache.

    Yields the strip's positions, with ``pool`` the four corners of its 2x2 windows, and its rows in
    the result's matrix.
    """
    like = x if like is None else like
    images, height, width, channels = x.shape
    step = 2 if pool else 1
    height, width = height // step, width // step
    corners = [(i, j) for i in range(step) for j in range(step)]
    if x.is_cuda:
        views = [x[:, i : height * step : step, j : width * step : step] for i, j in corners]
        yield views, slice(None)
        return
    rows = max(STRIP_BYTES // (width * channels * like.element_size()), 1)
    for n in range(images):
        for top in range(0, height, rows):
            end = min(top + rows, height)
            views = [
                x[n, top * step + i : end * step : step, j : width * step : step]
                for i, j in corners
            ]
            yield views, slice((n * height + top) * width, (n * height + end) * width)
