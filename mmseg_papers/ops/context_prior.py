"""Intra-class context of a learned prior, without the prior."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from .affinity_loss import (
    add_affinity_sums,
    affinity_sums_gradient,
    affinity_sums_reference,
)
from .batch_norm import Batch
from .export import is_exporting
from .layout import layout
from .once_differentiable import once_differentiable
from .precision import accumulation_dtype, check_floating_point, no_autocast
from .triton_device import check_one_device, runs_triton

#: Bytes of the prior, of all images, that exist at a time.
CHUNK_BYTES = {"cpu": 4 << 20, "cuda": 64 << 20}


def gather_context(value: Tensor, logits: Tensor) -> Tensor:
    """Context of every position under a given prior: the mean over the keys k of p_kq v_k.

    Args:
        value (Tensor): Of the keys, (B, C, h, w).
        logits (Tensor): The prior before its sigmoid, (B, N, H, W) with N = h * w: channels are
            keys, places queries.

    Returns:
        Tensor: Of the queries, (B, C, H, W).
    """
    prior = logits.flatten(2).sigmoid().to(value.dtype)
    # Divided within the product, which could overflow in half precision.
    context = torch.baddbmm(
        value.new_zeros(1), value.flatten(2), prior, beta=0, alpha=1 / prior.shape[1]
    )
    return context.view(*value.shape[:2], *logits.shape[2:])


def context_prior_reference(
    value: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, groups: int = 1
) -> Tensor:
    """Plain form of :func:`context_prior`: convolve, normalise, squash, gather."""
    logits = F.conv2d(value, weight.to(value.dtype), groups=groups)
    return gather_context(value, logits * scale[:, None, None] + shift[:, None, None])


def context_prior(
    value: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, groups: int = 1
) -> Tensor:
    """Context of every position under a learned prior, for inference.

    The prior of N positions is an N x N map. Here it exists for some keys at a time (CPU), or for
    a tile in one kernel (CUDA): with the folded normalisation it is an attention whose N keys are
    learned and whose weights are sigmoids, so there is nothing to normalise over the keys. Exact
    up to rounding. It has no backward pass. Time and memory are listed in docs/benchmarks.md.

    Args:
        value (Tensor): Aggregated features, (B, C, h, w); both what the prior is made of and what
            it gathers.
        weight (Tensor): Of the 1x1 convolution that gives the prior, (N, C / groups, 1, 1), with
            N = h * w.
        scale (Tensor): Of its normalisation, for each key, (N,).
        shift (Tensor): Of its normalisation, for each key, (N,).
        groups (int): Of the convolution. Default: 1.

    Returns:
        Tensor: mean over the keys k of sigmoid(scale_k w_k . v_q + shift_k) v_k, (B, C, h, w). The
        context of the other classes is the mean of ``value`` minus this.

    Raises:
        TypeError: If ``value`` is not floating point.
        ValueError: If the shapes do not fit, or the devices differ.
    """
    _check(value, weight, groups, scale=scale, shift=shift)
    if is_exporting():
        return context_prior_reference(value, weight, scale, shift, groups)
    return _context_prior(value, weight, scale, shift, groups)


class PriorStatistics(NamedTuple):
    """What :func:`context_prior_and_sums` normalised with."""

    mean: Tensor  # (N,)
    var: Tensor  # (N,), biased
    count: int | Tensor  # values of a channel, in all processes


def context_prior_and_sums_reference(
    value: Tensor,
    weight: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    label: Tensor,
    statistics: tuple[Tensor, Tensor] | None = None,
    eps: float = 1e-5,
    groups: int = 1,
    clamped_bce: bool = False,
    count_self: bool = False,
) -> tuple[Tensor, Tensor, PriorStatistics]:
    """Plain form of :func:`context_prior_and_sums`, in one process."""
    x = F.conv2d(value, weight.to(value.dtype), groups=groups)
    is_batch = statistics is None
    var, mean = torch.var_mean(x.detach(), (0, 2, 3), correction=0)
    given = (None, None) if is_batch else statistics
    logits = F.batch_norm(x, *given, norm_weight, norm_bias, training=is_batch, eps=eps)
    used = PriorStatistics(*((mean, var) if is_batch else statistics), x[:, 0].numel())
    sums = affinity_sums_reference(logits, label, clamped_bce, count_self)
    return gather_context(value, logits), sums, used


def context_prior_and_sums(
    value: Tensor,
    weight: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    label: Tensor,
    statistics: tuple[Tensor, Tensor] | None = None,
    eps: float = 1e-5,
    groups: int = 1,
    clamped_bce: bool = False,
    process_group: dist.ProcessGroup | None = None,
    count_self: bool = False,
) -> tuple[Tensor, Tensor, PriorStatistics]:
    """Context under a learned prior and what its affinity loss needs, for training.

    Convolution, batch normalisation, sigmoid, gathering and the sums of
    :func:`mmseg_papers.ops.affinity_sums` run over the keys in chunks; the backward pass makes each
    chunk anew. An N x N map never exists: memory is linear in N, for 7 instead of 9 products of
    C x N x N. Time and memory are listed in docs/benchmarks.md. The backward pass is deterministic.

    Args:
        value (Tensor): (B, C, h, w).
        weight (Tensor): (N, C / groups, 1, 1) with N = h * w.
        norm_weight (Tensor): Of the batch normalisation, (N,).
        norm_bias (Tensor): Of the batch normalisation, (N,).
        label (Tensor): Class of each position, (B, N).
        statistics (tuple[Tensor, Tensor], optional): Mean and variance to normalise with. Default:
            those of the batch.
        eps (float): Of the batch normalisation. Default: 1e-5.
        groups (int): Of the convolution. Default: 1.
        clamped_bce (bool): As for :func:`mmseg_papers.ops.affinity_loss`. Default: False.
        process_group (ProcessGroup, optional): Processes that share the statistics of the batch.
            Default: this one has its own.
        count_self (bool): As for :func:`mmseg_papers.ops.affinity_loss`. Default: False.

    Returns:
        tuple[Tensor, Tensor, PriorStatistics]: Context (B, C, h, w), sums (4, B, N), and the
        statistics, for the running averages.

    Raises:
        NotImplementedError: If the plain form is asked for and processes share the statistics.
        TypeError: If ``value`` is not floating point.
        ValueError: If the shapes do not fit, the devices differ, or the statistics would be those
            of one value.
    """
    mean, var = statistics or (None, None)
    of_keys = dict(norm_weight=norm_weight, norm_bias=norm_bias, mean=mean, var=var)
    _check(value, weight, groups, **of_keys)
    check_one_device(value=value, label=label)
    if label.shape != (len(value), len(weight)):
        raise ValueError(
            f"a value of {tuple(value.shape)} needs a label of {(len(value), len(weight))}, "
            f"got {tuple(label.shape)}"
        )
    if is_exporting():
        if process_group is not None:
            raise NotImplementedError("the plain form runs in one process; got a process_group")
        return context_prior_and_sums_reference(
            *(value, weight, norm_weight, norm_bias, label),
            *(statistics, eps, groups, clamped_bce, count_self),
        )
    parameters = (weight, norm_weight, norm_bias, label, mean, var)
    with no_autocast(value):  # precisions are chosen within
        context, sums, mean, var, count = _Streamed.apply(
            value, *parameters, eps, groups, clamped_bce, count_self, process_group
        )
    return context, sums, PriorStatistics(mean, var, count)


def _check(value: Tensor, weight: Tensor, groups: int, **of_keys: Tensor | None) -> None:
    check_floating_point("value", value)
    check_one_device(value=value, weight=weight, **of_keys)
    positions = value.shape[2:].numel()
    expected = (positions, value.shape[1] // groups, 1, 1)
    if value.dim() != 4 or value.shape[1] % groups or positions % groups:
        raise ValueError(
            f"value must be (B, C, h, w) with C and h * w divisible by groups={groups}, "
            f"got {tuple(value.shape)}"
        )
    if tuple(weight.shape) != expected:
        raise ValueError(
            f"a value of {tuple(value.shape)} and groups={groups} need a weight of {expected}, "
            f"got {tuple(weight.shape)}"
        )
    for name, x in of_keys.items():
        if x is not None and x.shape != (positions,):
            raise ValueError(
                f"{name} must be ({positions},), one value for each key, got {tuple(x.shape)}"
            )


def _chunks(value: Tensor, groups: int) -> Iterator[tuple[slice, slice]]:
    """Keys, and the channels that their group reads, of (B, C, N) values."""
    images, channels, positions = value.shape
    bytes_of_key = images * positions * torch.finfo(accumulation_dtype(value)).bits // 8
    step = max(CHUNK_BYTES["cuda" if value.is_cuda else "cpu"] // max(bytes_of_key, 1), 1)
    for group in range(groups):
        first, last = (positions // groups * i for i in (group, group + 1))
        of_group = slice(*(channels // groups * i for i in (group, group + 1)))
        for start in range(first, last, step):
            yield slice(start, min(start + step, last)), of_group


def _scores(value: Tensor, weight: Tensor) -> Tensor:
    """(B, C, N) and (keys, C, 1, 1) -> (B, keys, N), in the accumulator's precision."""
    weight = weight.flatten(1).to(value.dtype).expand(len(value), -1, -1)
    return torch.bmm(weight, value).to(accumulation_dtype(value))


def _add_product(
    out: Tensor, a: Tensor, b: Tensor, alpha: float = 1, divides_last: bool = False
) -> None:
    """Add alpha * a @ b to ``out``; half precision multiplies in it and adds up in float32.

    There ``alpha`` is applied before the product is rounded to half precision, so that it does not
    overflow, or after it (``divides_last``), so that a small one keeps its digits.
    """
    if out.dtype == a.dtype:
        out.baddbmm_(a, b, alpha=alpha)
        return
    within, after = (1, alpha) if divides_last else (alpha, 1)
    out.add_(torch.baddbmm(a.new_zeros(1), a, b.to(a.dtype), beta=0, alpha=within), alpha=after)


def _forward(value: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, groups: int) -> Tensor:
    out = torch.empty_like(value, memory_format=layout(value))
    if runs_triton(value) and groups == 1 and value.dtype != torch.float64:
        from .context_prior_triton import context_prior_triton, fits_shared_memory

        if fits_shared_memory(value):
            context_prior_triton(value, weight, scale, shift, out)
            return out
    flat = value.flatten(2)
    dtype = accumulation_dtype(value)
    scale, shift = scale.to(dtype)[:, None], shift.to(dtype)[:, None]
    context = torch.zeros(flat.shape, dtype=dtype, device=value.device)
    with no_autocast(value):
        for keys, channels in _chunks(flat, groups):
            scores = _scores(flat[:, channels], weight[keys])
            prior = scores.mul_(scale[keys]).add_(shift[keys]).sigmoid_()
            _add_product(context, flat[:, :, keys], prior, 1 / len(weight))
    return out.copy_(context.view(out.shape))


class _Streamed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        value,
        weight,
        norm_weight,
        norm_bias,
        label,
        mean,
        var,
        eps,
        groups,
        clamped,
        count_self,
        group,
    ):
        dtype = accumulation_dtype(value)
        positions = len(weight)
        is_batch = mean is None
        batch = Batch(len(value) * positions, None)
        if is_batch:
            batch = Batch.over(batch.count, group, value.device)
            mean = torch.empty(positions, dtype=dtype, device=value.device)
            var = torch.empty_like(mean)
        flat = value.flatten(2)
        context = torch.zeros(flat.shape, dtype=dtype, device=value.device)
        sums = torch.zeros((4, *label.shape), dtype=dtype, device=value.device)
        for keys, channels in _chunks(flat, groups):
            x = _scores(flat[:, channels], weight[keys])
            if is_batch:
                mean[keys] = batch.mean(x.sum((0, 2)))
                var[keys] = batch.mean((x - mean[keys, None]).square_().sum((0, 2)))
            logits = _normalise(x, mean, var, eps, keys)
            logits.mul_(norm_weight[keys, None]).add_(norm_bias[keys, None])
            add_affinity_sums(sums, logits, label, keys.start, clamped, count_self)
            _add_product(context, flat[:, :, keys], logits.sigmoid_(), 1 / positions)
        ctx.save_for_backward(value, weight, norm_weight, norm_bias, label, mean, var)
        ctx.options = eps, groups, clamped, count_self
        ctx.batch = batch if is_batch else None
        # A count that is a tensor, too, or it would hold the node that holds it.
        counted = [batch.count] if isinstance(batch.count, Tensor) else []
        ctx.mark_non_differentiable(mean, var, *counted)
        context = torch.empty_like(value).copy_(context.view(value.shape))
        return context, sums, mean, var, batch.count

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_context, grad_sums, *_):
        with no_autocast(grad_context):
            return *_gradients(ctx, grad_context, grad_sums), *(None,) * 8


def _normalise(x: Tensor, mean: Tensor, var: Tensor, eps: float, keys: slice) -> Tensor:
    return x.sub_(mean[keys, None]).mul_((var[keys, None] + eps).rsqrt())


def _gradients(ctx, grad_context: Tensor, grad_sums: Tensor) -> tuple[Tensor, ...]:
    """Of value, weight, norm_weight and norm_bias."""
    value, weight, norm_weight, norm_bias, label, mean, var = ctx.saved_tensors
    eps, groups, clamped, count_self = ctx.options
    dtype = accumulation_dtype(value)
    flat = value.flatten(2)
    of_context = grad_context.flatten(2)
    of_value = torch.zeros(flat.shape, dtype=dtype, device=value.device)
    of_weight = torch.empty_like(weight)
    of_norm_weight, of_norm_bias = torch.empty_like(norm_weight), torch.empty_like(norm_bias)
    for keys, channels in _chunks(flat, groups):
        x = _normalise(_scores(flat[:, channels], weight[keys]), mean, var, eps, keys)
        logits = x * norm_weight[keys, None] + norm_bias[keys, None]
        grad = torch.empty_like(logits)
        affinity_sums_gradient(grad_sums, logits, label, keys.start, clamped, count_self, grad)
        prior = logits.sigmoid_()
        # Divided by the positions after the products: float16 has no digits for it before.
        alpha = 1 / len(weight)
        _add_product(of_value[:, :, keys], of_context, prior.transpose(1, 2), alpha, True)
        of_prior = torch.bmm(flat[:, :, keys].transpose(1, 2), of_context).to(dtype)
        grad.addcmul_(of_prior, prior.mul_(1 - prior), value=alpha)
        # Batch normalisation.
        sums = torch.stack([grad.sum((0, 2)), (grad * x).sum((0, 2))])
        of_norm_bias[keys], of_norm_weight[keys] = sums
        if ctx.batch is not None:
            sums = ctx.batch.mean(sums)[..., None]
            grad.sub_(sums[0]).sub_(x.mul_(sums[1]))
        grad.mul_(norm_weight[keys, None] * (var[keys, None] + eps).rsqrt())
        # The convolution.
        read = flat[:, channels]
        of_weight[keys, :, 0, 0] = torch.bmm(grad.to(read.dtype), read.transpose(1, 2)).sum(0)
        kernels = weight[keys].flatten(1).to(read.dtype).T.expand(len(read), -1, -1)
        _add_product(of_value[:, channels], kernels, grad)
    of_value = torch.empty_like(value).copy_(of_value.view(value.shape))
    return of_value, of_weight, of_norm_weight, of_norm_bias


if hasattr(torch.library, "custom_op"):  # torch >= 2.4: torch.compile does not look inside
    _context_prior = torch.library.custom_op(
        "mmseg_papers::context_prior",
        _forward,
        mutates_args=(),
        schema="(Tensor value, Tensor weight, Tensor scale, Tensor shift, int groups) -> Tensor",
    )

    @_context_prior.register_fake
    def _(value, weight, scale, shift, groups):
        return torch.empty_like(value, memory_format=layout(value))

else:
    _context_prior = _forward
