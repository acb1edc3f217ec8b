"""Dense connections: every layer reads the maps of all earlier ones, from one buffer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

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
from .norm_relu_conv1x1 import maps, positions, relu_conv1x1, relu_conv1x1_backward
from .once_differentiable import once_differentiable
from .plain_layers import is_dense_conv, is_hooked
from .precision import accumulation_dtype, autocast_dtype, no_autocast


def dense_block_reference(
    x: Tensor, layers: Sequence[nn.Module], *, newest_first: bool = False, relu: bool = False
) -> Tensor:
    """Plain form of :func:`dense_block`: run a layer, concatenate, and so on."""
    if relu:
        x = F.relu(x)
    for layer in layers:
        y = layer(x)
        x = torch.cat([y, x] if newest_first else [x, y], dim=1)
    return x


def dense_block(
    x: Tensor,
    layers: Sequence[nn.Module],
    *,
    newest_first: bool = False,
    relu: bool = False,
    recompute: bool = False,
) -> Tensor:
    """Run densely connected layers without a concatenation for each.

    A layer is BN - ReLU - 1x1 conv - BN - ReLU - 3x3 conv - dropout of whole channels. The result
    is allocated once; each layer reads the channels that are there and writes its own beside them.

    *Inference.* The second BN is folded into the 1x1 conv; the activation before that conv exists a
    strip of rows at a time, and what it makes in bands of at most a quarter of the result's size.

    *Training.* One autograd function for the block. The statistics of a channel are computed once
    for all layers that read it (only scale and shift differ between them), and their gradient is
    applied once, when the backward pass reaches the layer that made the channel. What is kept is
    the result and, for each layer, the output of its 1x1 conv (``recompute``: not even that), where
    the plain form keeps two more copies of every layer's input. Running statistics are updated
    once, in the forward pass, whether or not anything is recomputed. ``SyncBatchNorm`` shares the
    sums between processes.

    The plain form is used for other norms, convs and dropouts, where a layer or a part of it has
    hooks, for empty batches, export and ``torch.compile``.

    Args:
        x (Tensor): (N, C, H, W), floating point.
        layers (Sequence[nn.Module]): Each with ``norm1`` (None: no norm), ``conv1`` (1x1),
            ``norm2``, ``conv2`` (3x3, padding = dilation) and ``dropout`` (``Dropout2d``); calling
            it computes the plain form.
        newest_first (bool): Whether a layer's channels go before those it read (DenseASPP) instead
            of after (DenseNet). Default: False.
        relu (bool): Whether ``x`` goes through a ReLU first, so that the layers and the result have
            relu(x) (DenseASPP). Default: False.
        recompute (bool): Whether the backward pass computes the 1x1 convs once more instead of
            keeping their outputs. Default: False.

    Returns:
        Tensor: (N, C + sum of the layers' output channels, H, W), channels_last. In training the
        backward pass reads it, so it must not be changed in place.

    Raises:
        ValueError: If a layer does not read the channels that are there, or a batch norm has one
            value a channel to train on.
    """
    layers = list(layers)
    _check(x, layers)
    norms = [norm for layer in layers for norm in (layer.norm1, layer.norm2) if norm is not None]
    is_plain = all(map(is_batch_norm, norms)) and all(
        is_dense_conv(layer.conv1, 1)
        and is_dense_conv(layer.conv2, 3)
        and type(layer.dropout) is nn.Dropout2d
        and not is_hooked(layer, layer.dropout)
        for layer in layers
    )
    if is_traced() or x.numel() == 0 or not layers or not is_plain:
        return dense_block_reference(x, layers, newest_first=newest_first, relu=relu)
    learns = torch.is_grad_enabled() and (
        x.requires_grad or any(p.requires_grad for layer in layers for p in layer.parameters())
    )
    dtype = autocast_dtype(x)
    with no_autocast(x):
        slices = _slices(x.shape[1], layers, newest_first)
        if learns or any(norm.training for norm in norms):
            return _train(x.to(dtype), layers, slices, relu, recompute)
        return _infer(x.to(dtype), layers, slices, relu)


def _check(x: Tensor, layers: Sequence[nn.Module]) -> None:
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(f"x must be floating point (N, C, H, W), got {x.dtype} {tuple(x.shape)}")
    channels = x.shape[1]
    for i, layer in enumerate(layers):
        if layer.conv1.in_channels != channels:
            raise ValueError(
                f"layer {i} of the block finds {channels} channels and its conv1 reads "
                f"{layer.conv1.in_channels}"
            )
        channels += layer.conv2.out_channels


def _slices(
    channels: int, layers: Sequence[nn.Module], newest_first: bool
) -> list[tuple[slice, slice]]:
    """For each layer, which channels of the result it reads and writes."""
    total = channels + sum(layer.conv2.out_channels for layer in layers)
    slices = []
    for layer in layers:
        end = channels + layer.conv2.out_channels
        if newest_first:
            slices.append((slice(total - channels, total), slice(total - end, total - channels)))
        else:
            slices.append((slice(0, channels), slice(channels, end)))
        channels = end
    return slices


def _allocate(x: Tensor, place: slice, channels: int, relu: bool) -> Tensor:
    """The result (N, channels, H, W) in channels_last, with ``x`` in its place."""
    out = torch.empty(
        (x.shape[0], channels, *x.shape[2:]),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    if relu:
        torch.clamp_min(x, 0, out=out[:, place])
    else:
        out[:, place] = x
    return out


def _conv3x3(h: Tensor, kernel: Tensor, offset: Tensor | None, dilation: int) -> Tensor:
    return positions(F.conv2d(maps(h), kernel, offset, padding=dilation, dilation=dilation))


def _infer(
    x: Tensor, layers: Sequence[nn.Module], slices: Sequence[tuple[slice, slice]], relu: bool
) -> Tensor:
    channels = x.shape[1] + sum(layer.conv2.out_channels for layer in layers)
    out = _allocate(x, slices[0][0], channels, relu)
    buffer = positions(out)
    for layer, (read, write) in zip(layers, slices, strict=True):
        norm1, norm2, conv1, conv2 = layer.norm1, layer.norm2, layer.conv1, layer.conv2
        affine = None if norm1 is None else NormState.of(norm1).affine(norm1.weight, norm1.bias)
        scale, shift = NormState.of(norm2).affine(norm2.weight, norm2.bias)
        if conv1.bias is not None:
            shift = torch.addcmul(shift, conv1.bias, scale)
        kernel = (conv1.weight.flatten(1) * scale[:, None]).to(x.dtype)
        shift, kernel2, dilation = shift.to(x.dtype), conv2.weight.to(x.dtype), conv2.dilation[0]
        offset = None if conv2.bias is None else conv2.bias.to(x.dtype)
        for rows, wider in _bands(x.shape[2], dilation, 4 * len(kernel) / channels):
            h = positions(relu_conv1x1(buffer[:, wider, :, read], affine, kernel, shift, relu=True))
            y = _conv3x3(h, kernel2, offset, dilation)
            start = rows.start - wider.start
            buffer[:, rows, :, write] = y[:, start : start + rows.stop - rows.start]
    return out


def _bands(height: int, dilation: int, count: float) -> Iterator[tuple[slice, slice]]:
    """About ``count`` bands of rows, and the rows that a 3x3 conv reads for them.

    Fewer, where more than an eighth of the rows would be read twice.
    """
    step = max(math.ceil(height / math.ceil(count)), 16 * dilation)
    for top in range(0, height, step):
        end = min(top + step, height)
        yield slice(top, end), slice(max(top - dilation, 0), min(end + dilation, height))


class _Layer(NamedTuple):
    """What of a layer is no tensor to learn."""

    norm1: NormState | None
    norm2: NormState
    dilation: int
    read: slice
    write: slice

    @property
    def uses_batch(self) -> bool:
        """Whether it needs the batch statistics of the channels that it reads."""
        return self.norm1 is not None and self.norm1.uses_batch


class _Tensors(NamedTuple):
    """The tensors of a layer that the autograd function takes, and gives gradients of."""

    weight1: Tensor | None  # norm1
    bias1: Tensor | None
    kernel1: Tensor  # conv1
    offset1: Tensor | None
    weight2: Tensor  # norm2
    bias2: Tensor
    kernel2: Tensor  # conv2
    offset2: Tensor | None
    keep: Tensor | None  # dropout's factors, (N, K)

    @classmethod
    def split(cls, tensors: Sequence[Tensor | None]) -> list[_Tensors]:
        size = len(cls._fields)
        return [cls(*tensors[i : i + size]) for i in range(0, len(tensors), size)]


def _train(
    x: Tensor,
    layers: Sequence[nn.Module],
    slices: Sequence[tuple[slice, slice]],
    relu: bool,
    recompute: bool,
) -> Tensor:
    plan, tensors = [], []
    for layer, (read, write) in zip(layers, slices, strict=True):
        norm1, norm2, conv1, conv2 = layer.norm1, layer.norm2, layer.conv1, layer.conv2
        state = None if norm1 is None else NormState.of(norm1)
        plan.append(_Layer(state, NormState.of(norm2), conv2.dilation[0], read, write))
        keep = None
        if layer.dropout.training and layer.dropout.p > 0:
            keep = layer.dropout(x.new_ones(len(x), conv2.out_channels, 1, 1)).flatten(1)
        convs = [
            None if t is None else t.to(x.dtype)
            for t in (conv1.weight, conv1.bias, conv2.weight, conv2.bias)
        ]
        affine1 = (None, None) if norm1 is None else (norm1.weight, norm1.bias)
        tensors += _Tensors(*affine1, *convs[:2], norm2.weight, norm2.bias, *convs[2:], keep)
    trains = any(p.uses_batch or p.norm2.uses_batch for p in plan)
    batch = Batch.of(x, layers[0].norm2) if trains else None
    out, mean, variance, hidden_mean, hidden_variance = _DenseBlock.apply(
        x, plan, batch, relu, recompute, *tensors
    )
    start = 0
    for layer, (read, _) in zip(layers, slices, strict=True):
        hidden = slice(start, start + layer.conv1.out_channels)
        start = hidden.stop
        if layer.norm1 is not None and layer.norm1.training:
            update_running_statistics(layer.norm1, mean[read], variance[read], batch.count)
        if layer.norm2.training:
            update_running_statistics(
                layer.norm2, hidden_mean[hidden], hidden_variance[hidden], batch.count
            )
    return out


class _DenseBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, plan, batch, relu, recompute, *tensors):
        channels = x.shape[1] + sum(t.kernel2.shape[0] for t in _Tensors.split(tensors))
        out = _allocate(x, plan[0].read, channels, relu)
        buffer = positions(out)
        mean = torch.zeros(channels, dtype=accumulation_dtype(x), device=x.device)
        variance = torch.zeros_like(mean)

        def measure(made: slice, readers: Sequence[_Layer]) -> None:
            """The statistics of channels, when they are made, for all that will read them."""
            if any(layer.uses_batch for layer in readers):
                rows = buffer[..., made].flatten(0, 2)
                mean[made], variance[made] = batch.moments(rows)

        measure(plan[0].read, plan)
        hidden, hidden_mean, hidden_variance = [], [], []
        for i, (layer, t) in enumerate(zip(plan, _Tensors.split(tensors), strict=True)):
            z = _conv1(buffer, mean, variance, layer, t)
            norm2 = layer.norm2
            if norm2.uses_batch:
                norm2 = norm2.filled(*batch.moments(z.flatten(0, 2)))
            hidden_mean.append(norm2.mean)
            hidden_variance.append(norm2.variance)
            h = _relu_norm2(z, norm2, t)
            y = _conv3x3(h, t.kernel2, t.offset2, layer.dilation)
            if t.keep is not None:
                y *= t.keep[:, None, None]
            buffer[..., layer.write] = y
            measure(layer.write, plan[i + 1 :])
            if not recompute:
                hidden.append(z)
        statistics = mean, variance, torch.cat(hidden_mean), torch.cat(hidden_variance)
        ctx.save_for_backward(out, *statistics, *hidden, *tensors)
        ctx.plan, ctx.batch, ctx.relu, ctx.recomputes = plan, batch, relu, recompute
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):
        plan, batch = ctx.plan, ctx.batch
        out, mean, variance, hidden_mean, hidden_variance, *rest = ctx.saved_tensors
        buffer = positions(out)
        hidden = [] if ctx.recomputes else rest[: len(plan)]
        tensors = _Tensors.split(rest[len(hidden) :])
        total = positions(torch.empty_like(out, dtype=mean.dtype).copy_(grad))
        # What flows through the statistics, summed over all layers that read a channel.
        terms = torch.zeros(2, len(mean), dtype=mean.dtype, device=mean.device)

        def finish(made: slice, readers: Sequence[_Layer]) -> Tensor:
            """Gradient of channels, all of whose readers have added theirs."""
            g = total[..., made]
            if any(layer.uses_batch for layer in readers):
                rows = buffer[..., made].flatten(0, 2)
                means = batch.mean(terms[:, made].contiguous())
                subtract_statistics_gradient(g.flatten(0, 2), rows, mean[made], *means)
            return g.to(buffer.dtype)

        grads: list[Tensor | None] = []
        end = len(hidden_mean)
        for i in reversed(range(len(plan))):
            layer, t = plan[i], tensors[i]
            start = end - len(t.kernel1)
            norm2 = NormState(layer.norm2.eps, hidden_mean[start:end], hidden_variance[start:end])
            end = start
            z = hidden[i] if hidden else _conv1(buffer, mean, variance, layer, t)
            g_y = finish(layer.write, plan[i + 1 :])
            if t.keep is not None:
                g_y = g_y * t.keep[:, None, None]
            h = _relu_norm2(z, norm2, t)
            g_h, g_kernel2, g_offset2 = _conv3x3_backward(g_y, h, t, layer.dilation)
            g_z, g_weight2, g_bias2 = _norm2_backward(
                g_h, h, z, norm2, t, batch if layer.norm2.uses_batch else None
            )
            del z, h, g_h
            g_offset1 = None if t.offset1 is None else g_z.flatten(0, 2).sum(0)
            g_weight1 = g_bias1 = affine = None
            if layer.norm1 is not None:
                norm1 = layer.norm1.filled(mean[layer.read], variance[layer.read])
                affine = norm1.affine(t.weight1, t.bias1)
            g_kernel1, g_shift, dot = relu_conv1x1_backward(
                buffer[..., layer.read],
                affine,
                t.kernel1.flatten(1),
                g_z,
                total[..., layer.read],
            )
            if layer.norm1 is not None:
                g_bias1, invstd = g_shift, norm1.invstd()
                g_weight1 = (dot - norm1.mean * g_shift) * invstd
                if layer.uses_batch:
                    scale = affine[0]
                    terms[:, layer.read] += torch.stack(
                        [scale * g_bias1, scale * invstd * g_weight1]
                    )
            of_layer = _Tensors(
                *(g_weight1, g_bias1, g_kernel1.view_as(t.kernel1), g_offset1),
                *(g_weight2, g_bias2, g_kernel2, g_offset2, None),
            )
            grads = [*of_layer, *grads]
        g_x = None
        if ctx.needs_input_grad[0]:
            g_x = finish(plan[0].read, plan)
            if ctx.relu:
                g_x = torch.ops.aten.threshold_backward(g_x, buffer[..., plan[0].read], 0)
            g_x = maps(g_x)
        return g_x, None, None, None, None, *grads


def _conv1(buffer: Tensor, mean: Tensor, variance: Tensor, layer: _Layer, t: _Tensors) -> Tensor:
    """Output of a layer's 1x1 conv, (N, H, W, M)."""
    affine = None
    if layer.norm1 is not None:
        norm1 = layer.norm1.filled(mean[layer.read], variance[layer.read])
        affine = norm1.affine(t.weight1, t.bias1)
    return positions(relu_conv1x1(buffer[..., layer.read], affine, t.kernel1.flatten(1), t.offset1))


def _relu_norm2(z: Tensor, norm2: NormState, t: _Tensors) -> Tensor:
    scale, shift = norm2.affine(t.weight2, t.bias2)
    return torch.addcmul(shift, z, scale).relu_().to(z.dtype)


def _conv3x3_backward(
    g_y: Tensor, h: Tensor, t: _Tensors, dilation: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    by_products = h.device.type == "cpu" and h.dtype in (torch.float32, torch.float64)
    g_h, g_kernel, _ = torch.ops.aten.convolution_backward(
        maps(g_y.contiguous()),
        maps(h),
        t.kernel2,
        None,
        *([1, 1], [dilation, dilation], [dilation, dilation]),  # stride, padding, dilation
        *(False, [0, 0], 1),  # not transposed, output padding, groups
        [True, not by_products, False],
    )
    if by_products:
        g_kernel = _kernel_gradient(g_y, h, dilation)
    g_offset = None if t.offset2 is None else g_y.sum((0, 1, 2))
    return positions(g_h), g_kernel, g_offset


def _kernel_gradient(g_y: Tensor, h: Tensor, dilation: int) -> Tensor:
    """Gradient (K, M, 3, 3) of the kernel by a matrix product for each tap and image.

    A third to two thirds of the time of PyTorch's on the CPU in channels_last, which is slow where
    there are few outputs or a dilation. With 2 ``dilation`` columns of zeros beside the map, a tap
    reads the flattened rows at one offset: what crosses a row's end meets a zero.
    """
    width = h.shape[2] + 2 * dilation
    wide_g = F.pad(g_y, (0, 0, 0, 2 * dilation)).flatten(1, 2)
    wide_h = F.pad(h, (0, 0, dilation, dilation)).flatten(1, 2)
    grad = h.new_zeros(3, 3, g_y.shape[3], h.shape[3])
    for i in range(3):
        up, down = (max(sign * (i - 1) * dilation, 0) * width for sign in (-1, 1))
        for j in range(3):
            shift = j * dilation
            length = wide_h.shape[1] - up - down - shift
            for g, x in zip(wide_g, wide_h, strict=True):
                if length > 0:
                    grad[i, j].addmm_(g[up : up + length].t(), x[down + shift :][:length])
    return grad.permute(2, 3, 0, 1)


def _norm2_backward(
    g_h: Tensor, h: Tensor, z: Tensor, norm2: NormState, t: _Tensors, batch: Batch | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Through the ReLU and the norm before the 3x3 conv: of z, the scale and the shift."""
    wide = norm2.mean.dtype
    scale, _ = norm2.affine(t.weight2, t.bias2)
    invstd = norm2.invstd()
    g = torch.ops.aten.threshold_backward(g_h, h, 0).to(wide).flatten(0, 2)
    rows = z.flatten(0, 2)
    g_bias = g.sum(0)
    g_weight = ((g * rows).sum(0) - norm2.mean * g_bias) * invstd
    g *= scale
    if batch is not None:
        terms = torch.stack([scale * g_bias, scale * invstd * g_weight])
        subtract_statistics_gradient(g, rows, norm2.mean, *batch.mean(terms))
    return g.view_as(z).to(z.dtype), g_weight, g_bias
