"""Affinity loss of a context prior, from class indices instead of an ideal affinity map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .export import is_exporting
from .once_differentiable import once_differentiable
from .precision import accumulation_dtype, check_floating_point, no_autocast
from .triton_device import check_one_device, runs_triton

#: Bytes of the prior that are looked at together on the CPU, so that they stay in its cache.
BLOCK_BYTES = 1 << 19
#: PyTorch's binary cross entropy clamps every logarithm at -100.
LARGEST_LOSS = 100.0
#: PyTorch's binary cross entropy divides its gradient by at least this.
SMALLEST_VARIANCE = 1e-12


def affinity_loss_reference(
    logits: Tensor,
    label: Tensor,
    empty_rows: str = "clamp",
    clamped_bce: bool = True,
    count_self: bool = False,
) -> Tensor:
    """Plain form of :func:`affinity_loss`: the ideal affinity map and four cross entropies.

    By default as the authors compute it: on probabilities, which is ``clamped_bce=True``.
    """
    logits = logits.flatten(2).transpose(1, 2).to(accumulation_dtype(logits))  # queries, keys
    prior = logits.sigmoid()
    affinity = (label[:, :, None] == label[:, None]).to(prior)
    strangers = 1 - affinity
    companions = _companions(affinity, count_self)
    found = (prior * companions).sum(2)
    rejected = ((1 - prior) * strangers).sum(2)
    num_companions, num_strangers = companions.sum(2), strangers.sum(2)

    def loss(ratio: Tensor, is_empty: Tensor) -> Tensor:
        ratio = ratio.masked_fill(is_empty, 0.0 if empty_rows == "clamp" else 1.0).clamp(max=1)
        return F.binary_cross_entropy(ratio, torch.ones_like(ratio))

    with no_autocast(logits):  # forbids this function
        return torch.stack(
            [
                _unary_terms(logits, prior, affinity, clamped_bce).mean(),
                loss(found / num_companions.clamp(min=1), num_companions == 0),
                loss(rejected / num_strangers.clamp(min=1), num_strangers == 0),
                loss(found / prior.sum(2), num_companions == 0),
            ]
        )


def _companions(affinity: Tensor, count_self: bool) -> Tensor:
    return affinity if count_self else affinity - torch.eye(affinity.shape[1]).to(affinity)


def _unary_terms(logits: Tensor, prior: Tensor, affinity: Tensor, clamped_bce: bool) -> Tensor:
    if clamped_bce:
        return F.binary_cross_entropy(prior, affinity, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, affinity, reduction="none")


def affinity_loss(
    logits: Tensor,
    label: Tensor,
    empty_rows: str = "clamp",
    clamped_bce: bool = False,
    count_self: bool = False,
) -> Tensor:
    """The four terms of CPNet's affinity loss (arXiv:2004.01547).

    A context prior says of every two positions how likely they are of one class. For N positions
    the authors build six N x N tensors to judge it; here it is read in blocks, forward and
    backward, and nothing of its size is made but its gradient. Time and memory against the plain
    form are listed in docs/benchmarks.md. The backward pass is deterministic.

    Where paper and code differ the default is the code's: a position does not count as its own
    companion in recall and in the numerator of precision, but does in the denominator of precision
    and in the unary term. Ignored pixels are a class like any other.

    Args:
        logits (Tensor): Before the sigmoid, (B, N, h, w) or (B, N, N) with h * w = N. The channel
            is the key, row-major over the positions; the place is the query.
        label (Tensor): Class of each position, (B, N), int64; only equality counts.
        empty_rows (str): What a position without any companion adds to recall and precision, and
            one in an image of a single class to specificity: ``'clamp'``, 100, as the authors'
            code, or ``'skip'``, nothing. The gradient is zero in both. Default: 'clamp'.
        clamped_bce (bool): Compute the logarithms from probabilities, clamped as PyTorch's binary
            cross entropy does, as the authors. In float32 a wrong logit beyond about 17 then costs
            100 and has no gradient; from logits it costs its size. Default: False.
        count_self (bool): Whether a position is its own companion everywhere, as in the paper's
            equations; then no position is without one. Default: False.

    Returns:
        Tensor: Unary, recall, specificity and precision terms, (4,), float32 (float64 for such
        logits). Their sum is the loss.

    Raises:
        TypeError: If ``logits`` are not floating point.
        ValueError: If shapes or ``empty_rows`` are not as described, or the devices differ.
    """
    _check(logits, label)
    _check_empty_rows(empty_rows)
    if is_exporting():
        return affinity_loss_reference(logits, label, empty_rows, clamped_bce, count_self)
    sums = affinity_sums(logits, label, clamped_bce, count_self)
    return affinity_terms(sums, label, empty_rows, clamped_bce, count_self)


def affinity_sums_reference(
    logits: Tensor, label: Tensor, clamped_bce: bool = False, count_self: bool = False
) -> Tensor:
    """Plain form of :func:`affinity_sums`: the ideal affinity map and sums over its keys."""
    logits = logits.flatten(2).to(accumulation_dtype(logits))  # keys, queries
    prior = logits.sigmoid()
    affinity = (label[:, :, None] == label[:, None]).to(prior)
    found = prior * _companions(affinity, count_self)
    rejected = (1 - prior) * (1 - affinity)
    with no_autocast(logits):  # forbids binary cross entropy
        unary = _unary_terms(logits, prior, affinity, clamped_bce)
    return torch.stack([found, prior, rejected, unary]).sum(2)


def affinity_sums(
    logits: Tensor, label: Tensor, clamped_bce: bool = False, count_self: bool = False
) -> Tensor:
    """Sums over the keys of every query, from which :func:`affinity_terms` makes the loss.

    Args:
        logits (Tensor): (B, N, h, w) or (B, N, N), as for :func:`affinity_loss`.
        label (Tensor): (B, N).
        clamped_bce (bool): As for :func:`affinity_loss`. Default: False.
        count_self (bool): As for :func:`affinity_loss`. Default: False.

    Returns:
        Tensor: (4, B, N), float32 (float64 for such logits), with p = sigmoid(logits): p of the
        query's companions, all p, 1 - p of other classes, cross entropies.

    Raises:
        TypeError: If ``logits`` are not floating point.
        ValueError: If the shapes are not as described, or the devices differ.
    """
    _check(logits, label)
    if is_exporting():
        return affinity_sums_reference(logits, label, clamped_bce, count_self)
    return _AffinitySums.apply(logits.flatten(2), label, clamped_bce, count_self)


def _check(logits: Tensor, label: Tensor) -> None:
    check_floating_point("logits", logits)
    got = (*logits.shape[:2], logits.shape[2:].numel())
    if logits.dim() not in (3, 4) or label.dim() != 2 or got != (*label.shape, label.shape[1]):
        raise ValueError(
            "logits must be (B, N, h, w) or (B, N, N) and label (B, N) with N = h * w, got "
            f"{tuple(logits.shape)} and {tuple(label.shape)}"
        )
    check_one_device(logits=logits, label=label)


def affinity_terms(
    sums: Tensor,
    label: Tensor,
    empty_rows: str = "clamp",
    clamped_bce: bool = False,
    count_self: bool = False,
) -> Tensor:
    """The terms of :func:`affinity_loss` from the sums of :func:`affinity_sums`.

    Args:
        sums (Tensor): (4, B, N).
        label (Tensor): (B, N).
        empty_rows (str): As for :func:`affinity_loss`. Default: 'clamp'.
        clamped_bce (bool): As for :func:`affinity_loss`. Default: False.
        count_self (bool): As for :func:`affinity_loss`, and as the sums were made. Default: False.

    Returns:
        Tensor: Unary, recall, specificity and precision terms, (4,).

    Raises:
        ValueError: If ``empty_rows`` is neither ``'clamp'`` nor ``'skip'``.
    """
    _check_empty_rows(empty_rows)
    mine, total, others, bce = sums.unbind()
    positions = label.shape[1]
    ordered = label.sort(dim=1).values
    # Positions of each one's class; by sorting, since counting into bins would wait for the GPU.
    alike = torch.searchsorted(ordered, label, right=True) - torch.searchsorted(ordered, label)
    companions = alike if count_self else alike - 1
    strangers = positions - alike

    def loss(numerator: Tensor, denominator: Tensor, group: Tensor) -> Tensor:
        # Emptiness is a matter of counts; a sum may also be zero because all p of it are.
        is_known = numerator > 0
        ratio = torch.where(is_known, numerator, 1) / torch.where(is_known, denominator, 1)
        value = _minus_log(ratio, clamped_bce)
        costs = ~is_known if empty_rows == "clamp" else ~is_known & (group > 0)
        return value + LARGEST_LOSS * costs

    per_query = [
        bce / positions,
        loss(mine, companions, companions),
        loss(others, strangers, strangers),
        loss(mine, total, companions),
    ]
    return torch.stack(per_query).flatten(1).sum(1) / max(label.numel(), 1)


def _check_empty_rows(empty_rows: str) -> None:
    if empty_rows not in ("clamp", "skip"):
        raise ValueError(f"empty_rows must be 'clamp' or 'skip', got {empty_rows!r}")


def _minus_log(ratio: Tensor, clamped_bce: bool) -> Tensor:
    if not clamped_bce:
        return -ratio.log().clamp(min=-LARGEST_LOSS)
    with no_autocast(ratio):  # forbids this function
        ratio = ratio.clamp(max=1)  # where rounding went beyond
        return F.binary_cross_entropy(ratio, torch.ones_like(ratio), reduction="none")


def add_affinity_sums(
    sums: Tensor,
    logits: Tensor,
    label: Tensor,
    first_key: int,
    clamped_bce: bool,
    count_self: bool,
) -> None:
    """Add some keys' part to the sums of :func:`affinity_sums`, in place.

    Args:
        sums (Tensor): (4, B, N).
        logits (Tensor): (B, keys, N) of the keys from ``first_key`` on.
        label (Tensor): (B, N).
        first_key (int): Position of the first key.
        clamped_bce (bool): As for :func:`affinity_loss`.
        count_self (bool): As for :func:`affinity_loss`.
    """
    if runs_triton(logits):
        from .affinity_loss_triton import add_affinity_sums_triton

        add_affinity_sums_triton(
            sums, logits, label, first_key, LARGEST_LOSS, clamped_bce, count_self
        )
        return
    for block in _blocks(logits, label, first_key):
        z = block.of(logits).to(sums.dtype)
        p = z.sigmoid()
        if clamped_bce:
            bce = torch.where(block.same, p, 1 - p).log_().clamp_(min=-LARGEST_LOSS).neg_()
        else:
            bce = F.softplus(torch.where(block.same, -z, z))
        mine = p * block.same
        if not count_self:
            mine.diagonal(block.diagonal).zero_()
        others = (1 - p).masked_fill_(block.same, 0)
        for total, x in zip(sums, (mine, p, others, bce), strict=True):
            total[block.image, block.queries] += x.sum(block.key_dim)


def affinity_sums_gradient(
    grad: Tensor,
    logits: Tensor,
    label: Tensor,
    first_key: int,
    clamped_bce: bool,
    count_self: bool,
    out: Tensor,
) -> None:
    """Fill ``out`` with the gradient of some keys' logits.

    Args:
        grad (Tensor): Gradient of the sums of :func:`affinity_sums`, (4, B, N).
        logits (Tensor): (B, keys, N) of the keys from ``first_key`` on.
        label (Tensor): (B, N).
        first_key (int): Position of the first key.
        clamped_bce (bool): As for :func:`affinity_loss`.
        count_self (bool): As for :func:`affinity_loss`.
        out (Tensor): As ``logits``.
    """
    if runs_triton(logits):
        from .affinity_loss_triton import affinity_sums_gradient_triton

        affinity_sums_gradient_triton(
            grad, logits, label, first_key, SMALLEST_VARIANCE, clamped_bce, count_self, out
        )
        return
    for block in _blocks(logits, label, first_key):
        of_mine, of_total, of_others, of_bce = (
            g[block.image, block.queries].unsqueeze(block.key_dim) for g in grad
        )
        p = block.of(logits).to(grad.dtype).sigmoid()
        variance = (1 - p).mul_(p)
        slope = torch.where(block.same, of_mine + of_total, of_total - of_others)
        if not count_self:
            slope.diagonal(block.diagonal).sub_(of_mine.expand_as(slope).diagonal(block.diagonal))
        error = p.sub_(block.same.to(p))
        if clamped_bce:
            error.mul_((variance / SMALLEST_VARIANCE).clamp_(max=1))
        block.of(out).copy_(error.mul_(of_bce).addcmul_(variance, slope))


class _Block(NamedTuple):
    """Some rows of one image's prior as it lies in memory: of keys, or of queries."""

    image: int
    rows: slice
    queries: slice
    key_dim: int
    same: Tensor  # whether query and key are of one class
    diagonal: int  # where query and key are one position

    def of(self, x: Tensor) -> Tensor:
        """This block of a prior (B, keys, queries)."""
        return (x[self.image].T if self.key_dim else x[self.image])[self.rows]


def _blocks(logits: Tensor, label: Tensor, first_key: int) -> Iterator[_Block]:
    images, keys, positions = logits.shape
    key_dim = 1 if logits.stride(1) < logits.stride(2) else 0  # 1 in channels_last
    rows, columns = (positions, keys) if key_dim else (keys, positions)
    step = max(BLOCK_BYTES // (columns * torch.finfo(accumulation_dtype(logits)).bits // 8), 1)
    for image in range(images):
        of_keys = label[image, first_key : first_key + keys]
        of_rows, of_columns = (label[image], of_keys) if key_dim else (of_keys, label[image])
        for start in range(0, rows, step):
            row = slice(start, min(start + step, rows))
            yield _Block(
                image,
                row,
                queries=row if key_dim else slice(None),
                key_dim=key_dim,
                same=of_rows[row, None] == of_columns,
                diagonal=start - first_key if key_dim else start + first_key,
            )


def _forward(logits: Tensor, label: Tensor, clamped_bce: bool, count_self: bool) -> Tensor:
    sums = logits.new_zeros((4, *label.shape), dtype=accumulation_dtype(logits))
    add_affinity_sums(sums, logits, label, 0, clamped_bce, count_self)
    return sums


def _backward(
    grad: Tensor, logits: Tensor, label: Tensor, clamped_bce: bool, count_self: bool
) -> Tensor:
    out = torch.empty_like(logits)
    affinity_sums_gradient(grad, logits, label, 0, clamped_bce, count_self, out)
    return out


class _AffinitySums(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, label, clamped_bce, count_self):
        ctx.options = clamped_bce, count_self
        ctx.save_for_backward(logits, label)
        return _affinity_sums(logits, label, clamped_bce, count_self)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        grad = _affinity_sums_backward(grad, *ctx.saved_tensors, *ctx.options)
        return grad, None, None, None


if hasattr(torch.library, "custom_op"):  # torch >= 2.4: torch.compile does not look inside
    _affinity_sums = torch.library.custom_op(
        "mmseg_papers::affinity_sums",
        _forward,
        mutates_args=(),
        schema="(Tensor logits, Tensor label, bool clamped_bce, bool count_self) -> Tensor",
    )
    _affinity_sums_backward = torch.library.custom_op(
        "mmseg_papers::affinity_sums_backward",
        _backward,
        mutates_args=(),
        schema=(
            "(Tensor grad, Tensor logits, Tensor label, bool clamped_bce, bool count_self)"
            " -> Tensor"
        ),
    )

    @_affinity_sums.register_fake
    def _(logits, label, clamped_bce, count_self):
        return logits.new_empty((4, *label.shape), dtype=accumulation_dtype(logits))

    @_affinity_sums_backward.register_fake
    def _(grad, logits, label, clamped_bce, count_self):
        return torch.empty_like(logits)

else:
    _affinity_sums, _affinity_sums_backward = _forward, _backward
