"""Residual blocks that keep their convs' outputs for the backward pass, and little more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm import (
    ONE_VALUE,
    NormState,
    is_batch_norm,
    next_momentum,
    sync_group,
    update_running_statistics,
)
from .export import is_traced
from .layout import layout
from .once_differentiable import once_differentiable
from .plain_layers import is_hooked, is_plain_conv
from .precision import accumulation_dtype, autocast_dtype, no_autocast
from .triton_device import runs_triton

#: Blocks of one autograd function. More keep fewer block inputs, and make more maps anew at a time.
BLOCKS_AT_A_TIME = 4


def residual_blocks_reference(x: Tensor, blocks: Sequence[nn.Module]) -> Tensor:
    """Plain form of :func:`residual_blocks`: one block after the other."""
    for block in blocks:
        x = block(x)
    return x


def residual_blocks(x: Tensor, blocks: Sequence[nn.Module]) -> Tensor:
    """ResNet's blocks in a row, which keep about half of their maps for the backward pass.

    A block is conv - BN - ReLU - conv - BN (- ReLU - conv - BN), plus its input or conv - BN of it,
    and a ReLU. The plain form keeps a map behind each conv and another behind each ReLU. Here the
    convs' outputs are kept, and the input of every fourth block; the backward pass makes the others
    anew, four blocks at a time, by normalising and adding, never by a conv. The peak falls by less
    where a wide stage of few blocks is the last. Running statistics are updated once.
    ``SyncBatchNorm`` shares its sums between processes.

    The plain form is used without gradients, for other norms, convs, activations or shortcuts,
    where a block has plug-in layers or ``with_cp`` or a layer has hooks, and for empty batches,
    export and ``torch.compile``.

    Args:
        x (Tensor): (N, C, H, W), floating point.
        blocks (Sequence[nn.Module]): Each with ``conv1``, ``norm1``, ``conv2``, ``norm2``, perhaps
            ``conv3`` and ``norm3``, ``relu``, and ``downsample`` (None or a sequence of conv and
            norm), as ``mmseg``'s ``BasicBlock`` and ``Bottleneck``; calling it computes the plain
            form.

    Returns:
        Tensor: (N, M, H', W'), of the last block; while training, neither it nor a parameter is to
        be changed in place before the backward pass.

    Raises:
        ValueError: If a batch norm has one value a channel to train on.
    """
    if is_traced() or not torch.is_grad_enabled() or x.numel() == 0:
        return residual_blocks_reference(x, blocks)
    if not (x.requires_grad or any(p.requires_grad for b in blocks for p in b.parameters())):
        return residual_blocks_reference(x, blocks)
    run: list[nn.Module] = []
    for block in blocks:
        is_fusible = _is_fusible(block)
        if run and (not is_fusible or len(run) == BLOCKS_AT_A_TIME):
            x, run = _train(x, run), []
        if is_fusible:
            run.append(block)
        else:
            x = block(x)
    return _train(x, run) if run else x


def _layers(block: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """Each conv of a block with the norm behind it, that of the shortcut first."""
    layers = [] if block.downsample is None else [tuple(block.downsample)]
    layers += [(block.conv1, block.norm1), (block.conv2, block.norm2)]
    return [*layers, (block.conv3, block.norm3)] if hasattr(block, "conv3") else layers


def _is_fusible(block: nn.Module) -> bool:
    if "conv1" not in block._modules:  # it wraps one
        return False
    if getattr(block, "with_cp", False) or getattr(block, "with_plugins", False):
        return False
    shortcut = [] if block.downsample is None else [block.downsample]
    return (
        all(type(s).forward is nn.Sequential.forward and len(s) == 2 for s in shortcut)
        and type(block.relu) is nn.ReLU
        and not is_hooked(block, block.relu, *shortcut)
        and all(
            is_plain_conv(conv)
            and conv.bias is None
            and conv.padding_mode == "zeros"
            and not isinstance(conv.padding, str)
            and is_batch_norm(norm)
            for conv, norm in _layers(block)
        )
    )


class _Layer(NamedTuple):
    """What of a conv and the norm behind it is no tensor to learn."""

    conv: tuple  # stride, padding, dilation, groups
    eps: float
    uses_batch: bool
    group: dist.ProcessGroup | None  # that shares the statistics of the batch


class _Block(NamedTuple):
    """Where a block's layers are among all."""

    start: int
    end: int
    downsamples: bool  # with its first layer

    @property
    def first(self) -> int:
        """The layer of conv1."""
        return self.start + self.downsamples


def _train(x: Tensor, blocks: Sequence[nn.Module]) -> Tensor:
    x = x.to(autocast_dtype(x))
    plan, layers, norms, tensors = [], [], [], []
    for block in blocks:
        start = len(layers)
        for conv, norm in _layers(block):
            options = conv.stride, conv.padding, conv.dilation, conv.groups
            group = sync_group(norm) if norm.training else None
            layers.append(_Layer(options, norm.eps, norm.training, group))
            norms.append(norm)
            tensors += conv.weight.to(x.dtype), norm.weight, norm.bias
        plan.append(_Block(start, len(layers), block.downsample is not None))
    with no_autocast(x):
        return _ResidualBlocks.apply(x, plan, layers, norms, *tensors)


class _ResidualBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, plan, layers, norms, *tensors):
        kept = []

        def run(i: int, a: Tensor, added: Tensor | None = None, relu: bool = True) -> Tensor:
            y = F.conv2d(a, tensors[3 * i], None, *layers[i].conv)
            z, mean, invstd = _train_norm(y, norms[i], layers[i].group, added, relu)
            kept.extend((y, mean, invstd))
            return z

        out = x
        for block in plan:
            shortcut = run(block.start, out, relu=False) if block.downsamples else out
            for i in range(block.first, block.end - 1):
                out = run(i, out)
            out = run(block.end - 1, out, shortcut)
        ctx.save_for_backward(x, out, *kept, *tensors)
        ctx.plan, ctx.layers = plan, layers
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        plan, layers, needs = ctx.plan, ctx.layers, ctx.needs_input_grad
        x, out, *rest = ctx.saved_tensors
        size = 3 * len(layers)
        kept = [rest[i : i + 3] for i in range(0, size, 3)]
        tensors = [rest[i : i + 3] for i in range(size, 2 * size, 3)]
        grads: list[Tensor | None] = [None] * size

        def again(i: int, added: Tensor | None = None, relu: bool = True) -> Tensor:
            return _normalise(*kept[i], *tensors[i][1:], added, relu)

        def through(i: int, g: Tensor, a: Tensor, needs_input: bool) -> Tensor | None:
            """From the gradient behind a layer's norm to that of its conv's input ``a``."""
            kernel, weight, _ = tensors[i]
            g, g_weight, g_bias = _normalise_backward(g, *kept[i], weight, layers[i])
            stride, padding, dilation, groups = layers[i].conv
            g, g_kernel, _ = torch.ops.aten.convolution_backward(
                *(g, a, kernel, None, stride, padding, dilation, False, (0, 0), groups),
                [needs_input, needs[4 + 3 * i], False],
            )
            grads[3 * i : 3 * i + 3] = g_kernel, g_weight, g_bias
            return g

        sources = [x]  # what goes into each block
        for block in plan[:-1]:
            shortcut = again(block.start, relu=False) if block.downsamples else sources[-1]
            sources.append(again(block.end - 1, shortcut))
        for block in reversed(plan):
            source = sources.pop()
            g_shortcut = g = _relu_backward(grad, out)
            needs_source = block.start > 0 or needs[0]
            for i in range(block.end - 1, block.first, -1):
                a = again(i - 1)
                g = _relu_backward(through(i, g, a, True), a)
            g = through(block.first, g, source, needs_source)
            if block.downsamples:
                g_shortcut = through(block.start, g_shortcut, source, needs_source)
            grad = g.add_(g_shortcut) if needs_source else None
            out = source
        return grad, None, None, None, *grads


def _relu_backward(grad: Tensor, out: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward(grad, out, 0)


def _normalise(
    y: Tensor,
    mean: Tensor,
    invstd: Tensor,
    weight: Tensor,
    bias: Tensor,
    added: Tensor | None,
    relu: bool,
) -> Tensor:
    """(y - mean) * invstd * weight + bias, plus another map, perhaps through a ReLU."""
    if runs_triton(y):
        from .residual_blocks_triton import normalise_triton

        y = y.contiguous(memory_format=layout(y))
        added = None if added is None else added.contiguous(memory_format=layout(y))
        out = torch.empty_like(y)
        normalise_triton(y, mean, invstd, weight, bias, added, relu, out)
        return out
    variance = invstd.square().reciprocal_()
    z, *_ = torch.native_batch_norm(y, weight, bias, mean, variance, False, 0.0, 0.0)
    return _add_relu(z, added, relu)


def _add_relu(z: Tensor, added: Tensor | None, relu: bool) -> Tensor:
    """In place."""
    if added is not None:
        z += added
    return z.relu_() if relu else z


def _train_norm(
    y: Tensor, norm: nn.Module, group: dist.ProcessGroup | None, added: Tensor | None, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`_normalise` by a norm in its mode, with mean and inverse standard deviation."""
    if norm.training and group is None and not runs_triton(y):
        _check_count(y)
        running = norm.running_mean, norm.running_var
        statistics = *running, True, next_momentum(norm), norm.eps
        z, mean, invstd = torch.native_batch_norm(y, norm.weight, norm.bias, *statistics)
        return _add_relu(z, added, relu), mean, invstd
    if not norm.training:
        mean, invstd = norm.running_mean, NormState.of(norm).invstd()
    elif group is None:
        _check_count(y)
        mean, variance = torch.batch_norm_update_stats(
            y, norm.running_mean, norm.running_var, next_momentum(norm)
        )
        invstd = torch.rsqrt(variance + norm.eps)
    else:
        mean, variance, total = _shared_moments(y, group)
        update_running_statistics(norm, mean, variance, total)
        invstd = torch.rsqrt(variance + norm.eps)
    return _normalise(y, mean, invstd, norm.weight, norm.bias, added, relu), mean, invstd


def _check_count(y: Tensor) -> None:
    if y[:, 0].numel() == 1:
        raise ValueError(ONE_VALUE)


def _shared_moments(y: Tensor, group: dist.ProcessGroup) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and number of the values a channel in all processes of a group."""
    # Without any, or in half precision, the results would be in that, too.
    unused = torch.zeros(2, y.shape[1], dtype=accumulation_dtype(y), device=y.device)
    mean, variance = torch.batch_norm_update_stats(y, *unused, 0.0)
    count = y[:, 0].numel()
    sums = torch.cat([count * mean, mean.new_tensor([count])])
    dist.all_reduce(sums, group=group)
    total = sums[-1]
    shared = sums[:-1] / total
    squares = count * (variance + (mean - shared).square_())
    dist.all_reduce(squares, group=group)
    return shared, squares / total, total


def _normalise_backward(
    grad: Tensor, y: Tensor, mean: Tensor, invstd: Tensor, weight: Tensor, layer: _Layer
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a norm's input, scale and shift."""
    backward = torch.ops.aten.native_batch_norm_backward
    if layer.uses_batch and layer.group is None:
        statistics = None, None, mean, invstd, True, layer.eps
        return backward(grad, y, weight, *statistics, [True] * 3)
    statistics = mean, invstd.square().reciprocal_(), mean, invstd, False, 0.0
    mask = [layer.group is None, True, True]
    g, g_weight, g_bias = backward(grad, y, weight, *statistics, mask)
    if layer.group is not None:
        wide = accumulation_dtype(y)
        count = torch.tensor([y[:, 0].numel()], dtype=wide, device=y.device)
        sums = torch.cat([g_bias.to(wide), g_weight.to(wide), count])
        dist.all_reduce(sums, group=layer.group)
        mean_g, mean_dot = (sums[:-1] / sums[-1]).chunk(2)
        scale = weight * invstd
        slope = scale * invstd * mean_dot
        scale, slope, shift = (
            v[:, None, None] for v in (scale, slope, mean * slope - scale * mean_g)
        )
        g = torch.addcmul(shift, grad.to(wide), scale).addcmul_(y.to(wide), slope, value=-1)
        g = g.to(y.dtype)
    return g, g_weight, g_bias
