"""Dense connections: every layer reads the maps of all earlier ones, from one buffer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm import (
    all_reduce,
    is_batch_norm,
    moments,
    sync_group,
    total_count,
    update_running_statistics,
)
from .export import is_exporting
from .precision import accumulation_dtype

#: Bytes of activations that are made at a time on the CPU, so that they stay in its caches.
TILE_BYTES = 1 << 20


def dense_block_reference(
    x: Tensor, layers: Sequence[nn.Module], newest_first: bool = False
) -> Tensor:
    """Plain form of :func:`dense_block`: run a layer, concatenate, and so on."""
    for layer in layers:
        y = layer(x)
        x = torch.cat([y, x] if newest_first else [x, y], dim=1)
    return x


def dense_block(
    x: Tensor, layers: Sequence[nn.Module], newest_first: bool = False, recompute: bool = False
) -> Tensor:
    """Run densely connected layers without a concatenation for each.

    A layer is BN - ReLU - 1x1 conv - BN - ReLU - 3x3 conv - dropout of whole channels. The result
    is allocated once; each layer reads the channels that are there and writes its own beside them.

    *Inference.* The second BN is folded into the 1x1 conv; of the first BN and ReLU only a tile of
    positions is held at a time.

    *Training.* One autograd function for the block. The statistics of a channel are computed once,
    for all layers that read it (only scale and shift differ between them), and their gradient is
    applied once, when the backward pass reaches the layer that made the channel. What is kept is
    the result and, for each layer, the output of its 1x1 conv (``recompute``: not even that), where
    the plain form keeps two more copies of every layer's input. Running statistics are updated
    once, in the forward pass, whether or not something is recomputed. ``SyncBatchNorm`` shares the
    sums between processes.

    The plain form is used for other norms, empty batches, export and ``torch.compile``.

    Args:
        x (Tensor): (N, C, H, W), floating point.
        layers (Sequence[nn.Module]): Each with ``norm1`` (None: no norm), ``conv1`` (1x1),
            ``norm2``, ``conv2`` (3x3, padding = dilation) and ``dropout`` (``Dropout2d``); calling
            it computes the plain form.
        newest_first (bool): Whether a layer's channels go before those it read (DenseASPP) instead
            of after (DenseNet). Default: False.
        recompute (bool): Whether the backward pass computes the 1x1 convs once more instead of
            keeping their outputs. Default: False.

    Returns:
        Tensor: (N, C + sum of the layers' output channels, H, W), channels_last.

    Raises:
        ValueError: If a layer's ``conv1`` does not read the channels that are there, or a batch
            norm has one value a channel to train on.
    """
    layers = list(layers)
    _check(x, layers)
    if _is_traced() or x.numel() == 0 or not all(map(_is_fusable, layers)):
        return dense_block_reference(x, layers, newest_first)
    dtype = _autocast_dtype(x) or x.dtype
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(dtype)
        slices = _slices(x.shape[1], layers, newest_first)
        norms = [n for layer in layers for n in (layer.norm1, layer.norm2) if n is not None]
        learns = torch.is_grad_enabled() and (
            x.requires_grad or any(p.requires_grad for layer in layers for p in layer.parameters())
        )
        if not learns and not any(norm.training for norm in norms):
            return _infer(x, layers, slices)
        return _train(x, layers, slices, recompute)


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


def _is_traced() -> bool:
    is_compiling = getattr(torch.compiler, "is_compiling", None)  # not in every 2.x
    return is_exporting() or (is_compiling is not None and is_compiling())


def _is_fusable(layer: nn.Module) -> bool:
    return (layer.norm1 is None or is_batch_norm(layer.norm1)) and is_batch_norm(layer.norm2)


def _autocast_dtype(x: Tensor) -> torch.dtype | None:
    if x.is_cuda:
        return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
    return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None


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


def _buffer(x: Tensor, slices: Sequence[tuple[slice, slice]]) -> Tensor:
    """The result, with ``x`` in its place, (N, C, H, W) in channels_last."""
    read, write = slices[-1]
    total = max(read.stop, write.stop)
    out = torch.empty(
        (x.shape[0], total, *x.shape[2:]),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    out[:, slices[0][0]] = x
    return out


def _rows(x: Tensor) -> Tensor:
    """A channels_last map as a matrix (N * H * W, C) of the same memory."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    """A matrix (N * H * W, C) as a channels_last map (N, C, H, W) of the same memory."""
    images, _, height, width = like.shape
    return rows.view(images, height, width, -1).permute(0, 3, 1, 2)


def _tiles(rows: Tensor) -> Iterator[slice]:
    count, channels = rows.shape
    step = count if rows.is_cuda else max(TILE_BYTES // (channels * rows.element_size()), 64)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _scale_relu(x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    """relu(x * scale + shift) in the dtype of ``x``; relu(x) without them."""
    if scale is None:
        return F.relu(x)
    return torch.addcmul(shift, x, scale).relu_().to(x.dtype)


def _conv3x3(rows: Tensor, like: Tensor, weight: Tensor, bias: Tensor | None, dilation: int):
    y = F.conv2d(_maps(rows, like), weight, bias, padding=dilation, dilation=dilation)
    return y.contiguous(memory_format=torch.channels_last)


def _fold(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift of a norm that uses its running statistics."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _infer(x: Tensor, layers: Sequence[nn.Module], slices: Sequence[tuple[slice, slice]]) -> Tensor:
    out = _buffer(x, slices)
    for layer, (read, write) in zip(layers, slices, strict=True):
        rows = _rows(out[:, read])
        scale1, shift1 = (None, None) if layer.norm1 is None else _fold(layer.norm1)
        scale2, shift2 = _fold(layer.norm2)
        weight = (layer.conv1.weight.flatten(1) * scale2[:, None]).t().contiguous().to(x.dtype)
        if layer.conv1.bias is not None:
            shift2 = torch.addcmul(shift2, layer.conv1.bias, scale2)
        shift2 = shift2.to(x.dtype)
        hidden = rows.new_empty(len(rows), weight.shape[1])
        for tile in _tiles(rows):
            torch.addmm(
                shift2, _scale_relu(rows[tile], scale1, shift1), weight, out=hidden[tile]
            ).relu_()
        bias = None if layer.conv2.bias is None else layer.conv2.bias.to(x.dtype)
        out[:, write] = _conv3x3(
            hidden, x, layer.conv2.weight.to(x.dtype), bias, layer.conv2.dilation[0]
        )
    return out


class _Norm(NamedTuple):
    """What of a norm is no tensor to learn: running statistics are None where the batch's count."""

    eps: float
    mean: Tensor | None
    variance: Tensor | None

    @classmethod
    def of(cls, norm: nn.Module | None) -> _Norm | None:
        if norm is None:
            return None
        running = (None, None) if norm.training else (norm.running_mean, norm.running_var)
        return cls(norm.eps, *running)


class _Layer(NamedTuple):
    norm1: _Norm | None
    norm2: _Norm
    dilation: int
    read: slice
    write: slice


#: Tensors of a layer that the autograd function takes, in order.
TENSORS = ("weight1", "bias1", "kernel1", "offset1", "weight2", "bias2", "kernel2", "offset2", "keep")


def _train(
    x: Tensor,
    layers: Sequence[nn.Module],
    slices: Sequence[tuple[slice, slice]],
    recompute: bool,
) -> Tensor:
    group = sync_group(layers[0].norm2)
    plan, tensors = [], []
    for layer, (read, write) in zip(layers, slices, strict=True):
        norm1, norm2 = layer.norm1, layer.norm2
        plan.append(
            _Layer(_Norm.of(norm1), _Norm.of(norm2), layer.conv2.dilation[0], read, write)
        )
        keep = None
        if layer.dropout.training and layer.dropout.p > 0:
            keep = layer.dropout(x.new_ones(len(x), layer.conv2.out_channels, 1, 1)).flatten(1)
        convs = [
            None if t is None else t.to(x.dtype)
            for conv in (layer.conv1, layer.conv2)
            for t in (conv.weight, conv.bias)
        ]
        tensors += [
            *((None, None) if norm1 is None else (norm1.weight, norm1.bias)),
            *convs[:2],
            norm2.weight,
            norm2.bias,
            *convs[2:],
            keep,
        ]
    uses_batch = any(n is not None and n.mean is None for p in plan for n in (p.norm1, p.norm2))
    count = len(x) * x.shape[2] * x.shape[3]
    if uses_batch:
        count = total_count(count, x, group)
    out, *statistics = _DenseBlock.apply(x, plan, recompute, count, group, *tensors)
    mean, variance, hidden_mean, hidden_variance = statistics
    start = 0
    for layer, (read, _) in zip(layers, slices, strict=True):
        hidden = slice(start, start + layer.conv1.out_channels)
        start = hidden.stop
        if layer.norm1 is not None and layer.norm1.training:
            update_running_statistics(layer.norm1, mean[read], variance[read], count)
        if layer.norm2.training:
            update_running_statistics(
                layer.norm2, hidden_mean[hidden], hidden_variance[hidden], count
            )
    return out


class _DenseBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, plan, recompute, count, group, *tensors):
        out = _buffer(x, [(layer.read, layer.write) for layer in plan])
        all_rows = _rows(out)
        wide = accumulation_dtype(x)
        mean = torch.zeros(out.shape[1], dtype=wide, device=x.device)
        variance = torch.zeros_like(mean)
        # A channel's statistics are computed when it is made, unless nothing reads them.
        uses_batch = any(p.norm1 is not None and p.norm1.mean is None for p in plan)
        if uses_batch:
            read = plan[0].read
            mean[read], variance[read] = moments(all_rows[:, read], count, group)
        hidden, hidden_mean, hidden_variance = [], [], []
        for i, layer in enumerate(plan):
            t = dict(zip(TENSORS, tensors[len(TENSORS) * i :], strict=False))
            norm1 = layer.norm1
            if norm1 is not None and norm1.mean is None:
                norm1 = _Norm(norm1.eps, mean[layer.read], variance[layer.read])
            z = _conv1x1(all_rows[:, layer.read], norm1, t)
            norm2 = layer.norm2
            if norm2.mean is None:
                norm2 = _Norm(norm2.eps, *moments(z, count, group))
            hidden_mean.append(norm2.mean)
            hidden_variance.append(norm2.variance)
            h = _scale_relu(z, *_scale_shift(norm2, t["weight2"], t["bias2"]))
            y = _conv3x3(h, x, t["kernel2"], t["offset2"], layer.dilation)
            if t["keep"] is not None:
                y *= t["keep"][:, :, None, None]
            out[:, layer.write] = y
            if uses_batch and i + 1 < len(plan):
                new = moments(_rows(y), count, group)
                mean[layer.write], variance[layer.write] = new
            if not recompute:
                hidden.append(z)
        statistics = mean, variance, torch.cat(hidden_mean), torch.cat(hidden_variance)
        ctx.save_for_backward(out, *statistics, *hidden, *tensors)
        ctx.plan, ctx.count, ctx.group = plan, count, group
        ctx.recomputes = recompute
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out, *_):
        with torch.autocast(grad_out.device.type, enabled=False):
            return _backward(ctx, grad_out)


def _scale_shift(norm: _Norm, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    scale = weight * torch.rsqrt(norm.variance + norm.eps)
    return scale, bias - norm.mean * scale


def _conv1x1(rows: Tensor, norm: _Norm | None, t: dict[str, Tensor]) -> Tensor:
    """Output of a layer's 1x1 conv for the channels it reads, (P, M)."""
    affine = (None, None) if norm is None else _scale_shift(norm, t["weight1"], t["bias1"])
    kernel = t["kernel1"].flatten(1).t().contiguous()
    z = rows.new_empty(len(rows), kernel.shape[1])
    for tile in _tiles(rows):
        h = _scale_relu(rows[tile], *affine)
        if t["offset1"] is None:
            torch.mm(h, kernel, out=z[tile])
        else:
            torch.addmm(t["offset1"], h, kernel, out=z[tile])
    return z


def _backward(ctx, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    plan, count, group = ctx.plan, ctx.count, ctx.group
    out, mean, variance, hidden_mean, hidden_variance, *rest = ctx.saved_tensors
    hidden = [] if ctx.recomputes else rest[: len(plan)]
    tensors = rest[len(hidden) :]
    all_rows, wide = _rows(out), mean.dtype
    grad = torch.empty_like(out, dtype=wide).copy_(grad_out)
    all_grads = _rows(grad)
    # Sums over positions that batch norm's gradient takes off, over all layers that read a channel.
    offset, slope = torch.zeros_like(mean), torch.zeros_like(mean)

    def finish(channels: slice) -> Tensor:
        """Gradient of channels that all their readers have been through, (P, C)."""
        g = all_grads[:, channels]
        if not uses_batch:
            return g
        sums = all_reduce(torch.stack([offset[channels], slope[channels]]), group) / count
        centred = all_rows[:, channels].to(wide) - mean[channels]
        return g - centred.mul_(sums[1]).add_(sums[0])

    uses_batch = any(p.norm1 is not None and p.norm1.mean is None for p in plan)
    grads: list[Tensor | None] = [None] * len(tensors)
    end = len(hidden_mean)
    for i in reversed(range(len(plan))):
        layer = plan[i]
        t = dict(zip(TENSORS, tensors[len(TENSORS) * i :], strict=False))
        start = end - t["kernel1"].shape[0]
        norm2 = _Norm(layer.norm2.eps, hidden_mean[start:end], hidden_variance[start:end])
        end = start
        norm1 = layer.norm1
        if norm1 is not None and norm1.mean is None:
            norm1 = _Norm(norm1.eps, mean[layer.read], variance[layer.read])
        rows = all_rows[:, layer.read]
        z = _conv1x1(rows, norm1, t) if ctx.recomputes else hidden[i]

        g_y = _maps(finish(layer.write).to(out.dtype).contiguous(), out)
        if t["keep"] is not None:
            g_y = g_y * t["keep"][:, :, None, None]
        g = {}
        invstd2 = torch.rsqrt(norm2.variance + norm2.eps)
        scale2 = t["weight2"] * invstd2
        centred = z.to(wide) - norm2.mean
        h = torch.addcmul(t["bias2"], centred, scale2).relu_().to(out.dtype)
        g_h, g["kernel2"], g["offset2"] = torch.ops.aten.convolution_backward(
            g_y,
            _maps(h, out),
            t["kernel2"],
            None if t["offset2"] is None else [len(t["offset2"])],
            [1, 1],
            [layer.dilation] * 2,
            [layer.dilation] * 2,
            False,
            [0, 0],
            1,
            [True, True, t["offset2"] is not None],
        )
        g_h = _rows(g_h.contiguous(memory_format=torch.channels_last)).to(wide)
        g_z = torch.ops.aten.threshold_backward(g_h, h, 0)
        g["bias2"] = g_z.sum(0)
        g["weight2"] = (g_z * centred).sum(0).mul_(invstd2)
        if layer.norm2.mean is None:
            sums = torch.stack([g["bias2"], g["weight2"] * invstd2])
            sums = all_reduce(sums, group) / count
            g_z -= centred.mul_(sums[1]).add_(sums[0])
        g_z *= scale2
        del g_h, h, centred
        g["offset1"] = None if t["offset1"] is None else g_z.sum(0)
        _conv1x1_backward(rows, g_z.to(out.dtype), norm1, t, g, all_grads[:, layer.read])
        if norm1 is not None and layer.norm1.mean is None:
            scale1 = t["weight1"] * torch.rsqrt(norm1.variance + norm1.eps)
            offset[layer.read] += scale1 * g["bias1"]
            slope[layer.read] += scale1 * g["weight1"] * torch.rsqrt(norm1.variance + norm1.eps)
        grads[len(TENSORS) * i : len(TENSORS) * (i + 1)] = [g.get(name) for name in TENSORS]
    g_x = None
    if ctx.needs_input_grad[0]:
        g_x = _maps(finish(plan[0].read), out).to(out.dtype)
    return g_x, None, None, None, None, *grads


def _conv1x1_backward(
    rows: Tensor,
    g_z: Tensor,
    norm: _Norm | None,
    t: dict[str, Tensor],
    g: dict[str, Tensor],
    g_rows: Tensor,
) -> None:
    """Add the gradient of the channels read to ``g_rows``, those of the parameters to ``g``.

    Of the norm's own gradient, what runs over its statistics is left to the layer that made them.
    """
    wide = g_rows.dtype
    kernel = t["kernel1"].flatten(1)
    g_kernel = torch.zeros(kernel.shape, dtype=wide, device=rows.device)
    g_bias = torch.zeros(kernel.shape[1], dtype=wide, device=rows.device)
    g_weight = torch.zeros_like(g_bias)
    if norm is not None:
        invstd = torch.rsqrt(norm.variance + norm.eps)
        scale = t["weight1"] * invstd
    for tile in _tiles(rows):
        x = rows[tile]
        if norm is None:
            h = F.relu(x)
        else:
            x = x.to(wide) - norm.mean
            h = torch.addcmul(t["bias1"], x, scale).relu_().to(rows.dtype)
        g_kernel += g_z[tile].t() @ h
        g_h = g_z[tile] @ kernel
        g_h = torch.ops.aten.threshold_backward(g_h, h, 0).to(wide)
        if norm is None:
            g_rows[tile] += g_h
        else:
            g_bias += g_h.sum(0)
            g_rows[tile].addcmul_(g_h, scale)
            g_weight += g_h.mul_(x).sum(0)
    g["kernel1"] = g_kernel.view_as(t["kernel1"])
    if norm is not None:
        g["bias1"], g["weight1"] = g_bias, g_weight.mul_(invstd)
