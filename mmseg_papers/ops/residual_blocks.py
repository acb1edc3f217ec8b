"""Residual blocks that keep their convs' outputs for the backward pass, and little more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
#: Activation -> its largest value; the least is 0.
TOPS = {nn.ReLU: math.inf, nn.ReLU6: 6.0}


class BlockDescription(NamedTuple):
    """What a block computes: layers in a row, and perhaps a shortcut around them.

    Args:
        layers (Sequence[tuple]): Each a conv, the norm behind it, and the activation behind that,
            an ``nn.ReLU``, ``nn.ReLU6`` or None. The last one comes after the sum.
        shortcut (tuple[nn.Module, ...], optional): What is added to the last norm's output: ``()``
            for the block's input, (conv, norm) for theirs of it, None for nothing. Default: ``()``.
        relu_first (bool): Whether the layers get max(0, x) of the block's input x, which the
            shortcut has as it is. Default: False.
        parts (Sequence[nn.Module]): Other modules that a call of the block would call. Default: ().
    """

    layers: Sequence[tuple[nn.Module, nn.Module, nn.Module | None]]
    shortcut: tuple[nn.Module, ...] | None = ()
    relu_first: bool = False
    parts: Sequence[nn.Module] = ()


def resnet_block(block: nn.Module) -> BlockDescription | None:
    """Describe ``mmseg``'s ``BasicBlock`` and ``Bottleneck`` to :func:`residual_blocks`.

    Args:
        block (nn.Module): With ``conv1``, ``norm1``, ``conv2``, ``norm2``, perhaps ``conv3`` and
            ``norm3``, ``relu``, and ``downsample`` (None or a sequence of conv and norm).

    Returns:
        BlockDescription, optional: None if the block is to be called: it wraps one, it has plug-in
        layers or ``with_cp``, or its shortcut is another.
    """
    if "conv1" not in block._modules:  # it wraps one
        return None
    if getattr(block, "with_cp", False) or getattr(block, "with_plugins", False):
        return None
    shortcut = block.downsample
    if shortcut is not None and not _is_pair(shortcut):
        return None
    layers = [(block.conv1, block.norm1, block.relu), (block.conv2, block.norm2, block.relu)]
    if hasattr(block, "conv3"):
        layers.append((block.conv3, block.norm3, block.relu))
    parts = () if shortcut is None else (shortcut,)
    return BlockDescription(layers, () if shortcut is None else tuple(shortcut), parts=parts)


def _is_pair(modules: nn.Module) -> bool:
    return type(modules).forward is nn.Sequential.forward and len(modules) == 2


def residual_blocks_reference(x: Tensor, blocks: Sequence[nn.Module]) -> Tensor:
    """Plain form of :func:`residual_blocks`: one block after the other."""
    for block in blocks:
        x = block(x)
    return x


def residual_blocks(
    x: Tensor,
    blocks: Sequence[nn.Module],
    describe: Callable[[nn.Module], BlockDescription | None] = resnet_block,
) -> Tensor:
    """Residual blocks in a row, which keep about half of their maps for the backward pass.

    A block is a row of conv - BN - activation, with its input, conv - BN of it or nothing added
    before the last activation. The plain form keeps a map behind each conv and another behind each
    activation or norm. Here the convs' outputs are kept, and the input of every fourth block; the
    backward pass makes the others anew, four blocks at a time, by normalising and adding, never by
    a conv. The peak falls by less where a wide stage of few blocks is the last. Running statistics
    are updated once. ``SyncBatchNorm`` shares its sums between processes.

    The plain form is used without gradients, for blocks of which ``describe`` returns None, other
    norms, convs or activations than above, where a module has hooks, and for empty batches, export
    and ``torch.compile``.

    Args:
        x (Tensor): (N, C, H, W), floating point.
        blocks (Sequence[nn.Module]): Calling one computes the plain form.
        describe (Callable): Tells what a block computes. Default: :func:`resnet_block`.

    Returns:
        Tensor: (N, M, H', W'), of the last block; while training, neither it nor a parameter is to
        be changed in place before the backward pass.

    Raises:
        ValueError: If a batch norm has one value a channel to train on.
    """
    is_symbol = not isinstance(x, Tensor)  # of torch.fx
    if is_symbol or is_traced() or not torch.is_grad_enabled() or x.numel() == 0:
        return residual_blocks_reference(x, blocks)
    if not (x.requires_grad or any(p.requires_grad for b in blocks for p in b.parameters())):
        return residual_blocks_reference(x, blocks)
    run: list[BlockDescription] = []
    for block in blocks:
        described = None if is_hooked(block) else describe(block)
        is_fusible = described is not None and _is_fusible(described)
        if run and (not is_fusible or len(run) == BLOCKS_AT_A_TIME):
            x, run = _train(x, run), []
        if is_fusible:
            run.append(described)
        else:
            x = block(x)
    return _train(x, run) if run else x


def _layers(block: BlockDescription) -> list[tuple]:
    """Each conv of a block with its norm and activation, that of the shortcut first."""
    return [*([(*block.shortcut, None)] if block.shortcut else []), *block.layers]


def _is_fusible(block: BlockDescription) -> bool:
    return not is_hooked(*block.parts) and all(
        is_plain_conv(conv)
        and conv.bias is None
        and not isinstance(conv.padding, str)
        and is_batch_norm(norm)
        and (act is None or (type(act) in TOPS and not is_hooked(act)))
        for conv, norm, act in _layers(block)
    )


class _Layer(NamedTuple):
    """What of a conv, the norm and the activation behind it is no tensor to learn."""

    conv: tuple  # stride, padding, dilation, groups
    eps: float
    uses_batch: bool
    group: dist.ProcessGroup | None  # that shares the statistics of the batch
    top: float | None  # of the activation, None without


class _Block(NamedTuple):
    """Where a block's layers are among all, and what is around them."""

    start: int
    end: int
    downsamples: bool  # with its first layer
    adds: bool
    relu_first: bool

    @property
    def first(self) -> int:
        """The first layer that is not the shortcut's."""
        return self.start + self.downsamples


def _train(x: Tensor, blocks: Sequence[BlockDescription]) -> Tensor:
    x = x.to(autocast_dtype(x))
    plan, layers, norms, tensors = [], [], [], []
    for block in blocks:
        start = len(layers)
        for conv, norm, act in _layers(block):
            options = conv.stride, conv.padding, conv.dilation, conv.groups
            group = sync_group(norm) if norm.training else None
            top = None if act is None else TOPS[type(act)]
            layers.append(_Layer(options, norm.eps, norm.training, group, top))
            norms.append(norm)
            tensors += conv.weight.to(x.dtype), norm.weight, norm.bias
        adds, downsamples = block.shortcut is not None, bool(block.shortcut)
        plan.append(_Block(start, len(layers), downsamples, adds, block.relu_first))
    with no_autocast(x):
        return _ResidualBlocks.apply(x, plan, layers, norms, *tensors)


class _ResidualBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, plan, layers, norms, *tensors):
        kept = []

        def run(i: int, a: Tensor, added: Tensor | None = None) -> Tensor:
            y = F.conv2d(a, tensors[3 * i], None, *layers[i].conv)
            z, mean, invstd = _train_norm(y, norms[i], layers[i], added)
            kept.extend((y, mean, invstd))
            return z

        out = x
        for block in plan:
            shortcut = out if block.adds else None
            if block.downsamples:
                shortcut = run(block.start, out)
            if block.relu_first:
                out = out.relu()
            for i in range(block.first, block.end - 1):
                out = run(i, out)
            out = run(block.end - 1, out, shortcut)
        ctx.save_for_backward(x, None if layers[-1].top is None else out, *kept, *tensors)
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

        def again(i: int, added: Tensor | None = None) -> Tensor:
            return _normalise(*kept[i], *tensors[i][1:], added, layers[i].top)

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
            shortcut = sources[-1] if block.adds else None
            if block.downsamples:
                shortcut = again(block.start)
            sources.append(again(block.end - 1, shortcut))
        for block in reversed(plan):
            g_shortcut = g = _activation_backward(grad, out, layers[block.end - 1].top)
            grad = out = None  # not held while the block's own maps are made
            source = sources.pop()
            needs_source = block.start > 0 or needs[0]
            for i in range(block.end - 1, block.first, -1):
                a = again(i - 1)
                g = _activation_backward(through(i, g, a, True), a, layers[i - 1].top)
            a = source.relu() if block.relu_first else source
            g = through(block.first, g, a, needs_source)
            if needs_source and block.relu_first:
                g = _activation_backward(g, a, math.inf)
            if block.downsamples:
                g_shortcut = through(block.start, g_shortcut, source, needs_source)
            if needs_source and block.adds:
                g += g_shortcut
            grad, out, a = g, source, None
        return grad, None, None, None, *grads


def _activation_backward(grad: Tensor, out: Tensor | None, top: float | None) -> Tensor:
    if top is None:
        return grad
    if top == math.inf:
        return torch.ops.aten.threshold_backward(grad, out, 0)
    return torch.ops.aten.hardtanh_backward(grad, out, 0, top)


def _normalise(
    y: Tensor,
    mean: Tensor,
    invstd: Tensor,
    weight: Tensor,
    bias: Tensor,
    added: Tensor | None,
    top: float | None,
) -> Tensor:
    """(y - mean) * invstd * weight + bias, plus another map, perhaps cut at 0 and ``top``."""
    if runs_triton(y):
        from .residual_blocks_triton import normalise_triton

        y = y.contiguous(memory_format=layout(y))
        added = None if added is None else added.contiguous(memory_format=layout(y))
        out = torch.empty_like(y)
        normalise_triton(y, mean, invstd, weight, bias, added, top, out)
        return out
    variance = invstd.square().reciprocal_()
    z, *_ = torch.native_batch_norm(y, weight, bias, mean, variance, False, 0.0, 0.0)
    return _add_activate(z, added, top)


def _add_activate(z: Tensor, added: Tensor | None, top: float | None) -> Tensor:
    """In place."""
    if added is not None:
        z += added
    if top is None:
        return z
    return z.relu_() if top == math.inf else F.hardtanh_(z, 0, top)


def _train_norm(
    y: Tensor, norm: nn.Module, layer: _Layer, added: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`_normalise` by a norm in its mode, with mean and inverse standard deviation."""
    group, top = layer.group, layer.top
    if norm.training and group is None and not runs_triton(y):
        _check_count(y)
        running = norm.running_mean, norm.running_var
        statistics = *running, True, next_momentum(norm), norm.eps
        z, mean, invstd = torch.native_batch_norm(y, norm.weight, norm.bias, *statistics)
        return _add_activate(z, added, top), mean, invstd
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
    return _normalise(y, mean, invstd, norm.weight, norm.bias, added, top), mean, invstd


def _check_count(y: Tensor) -> None:
    if y[:, 0].numel() == 1:
        raise ValueError(ONE_VALUE)


def _shared_moments(y: Tensor, group: dist.ProcessGroup) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and number of the values a channel in all processes of a group."""
    # Without any, or in half precision, the results would be in that, too.
    unused = torch.zeros(2, y.shape[1], dtype=accumulation_dtype(y), device=y.device)
    mean, variance = torch.batch_norm_update_stats(y, *unused, 0.0)
    count = y[:, 0].numel()
    sums = torch.cat([count * mean, mean.new_full((1,), count)])
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
        count = torch.full((1,), y[:, 0].numel(), dtype=wide, device=y.device)
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
