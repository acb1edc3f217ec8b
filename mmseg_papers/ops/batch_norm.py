"""Batch statistics and their gradient, as ``BatchNorm2d`` and ``SyncBatchNorm`` compute them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .plain_layers import is_hooked
from .precision import accumulation_dtype

ONE_VALUE = (
    "batch norm needs more than one value a channel while training; use a larger crop_size or "
    "batch_size"
)


def is_batch_norm(norm: nn.Module) -> bool:
    """Whether a layer is a batch norm with scale, shift and running statistics, and nothing else.

    Args:
        norm (nn.Module): Any layer.

    Returns:
        bool: True for ``BatchNorm2d`` and ``SyncBatchNorm`` with the usual options and no hooks.
    """
    if not isinstance(norm, _BatchNorm) or is_hooked(norm):
        return False
    is_plain = type(norm).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)
    return is_plain and norm.affine and norm.track_running_stats


def sync_group(norm: nn.Module) -> dist.ProcessGroup | None:
    """The processes that share a norm's batch statistics.

    Args:
        norm (nn.Module): A batch norm.

    Returns:
        ProcessGroup, optional: None unless it is a ``SyncBatchNorm`` and several processes run.
    """
    is_distributed = dist.is_available() and dist.is_initialized()
    if not is_distributed or not isinstance(norm, nn.SyncBatchNorm):
        return None
    group = norm.process_group or dist.group.WORLD
    return group if dist.get_world_size(group) > 1 else None


class Batch(NamedTuple):
    """What a batch norm averages over: ``count`` values a channel in all processes of ``group``."""

    count: int | Tensor
    group: dist.ProcessGroup | None

    @classmethod
    def of(cls, x: Tensor, norm: nn.Module) -> Batch:
        """The batch of a map (N, C, H, W) for a norm that trains on it.

        Raises:
            ValueError: If it has one value a channel, of which there is no variance.
        """
        return cls.over(x[:, 0].numel(), sync_group(norm), x.device)

    @classmethod
    def over(cls, count: int, group: dist.ProcessGroup | None, device: torch.device) -> Batch:
        """The batch of which this process has ``count`` values a channel.

        Raises:
            ValueError: If all processes have one together, of which there is no variance.
        """
        if group is not None:
            total = torch.full((), count, dtype=torch.float64, device=device)
            dist.all_reduce(total, group=group)
            if count > 1:  # without waiting for the GPU
                return cls(total, group)
            count = int(total)
        if count == 1:
            raise ValueError(ONE_VALUE)
        return cls(count, group)

    def mean(self, sums: Tensor) -> Tensor:
        """Sums of this process -> means over all."""
        if self.group is not None:
            dist.all_reduce(sums, group=self.group)
        return sums / (self.count if isinstance(self.count, Tensor) else max(self.count, 1))

    def moments(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of the columns of (P, C), in two passes."""
        wide = accumulation_dtype(rows)
        mean = self.mean(rows.sum(0, dtype=wide))
        variance = torch.zeros_like(mean)
        # Of a few rows at a time, which stay in the cache. A GPU takes all at once.
        step = len(rows) if rows.is_cuda else 1 + (1 << 16) // rows.shape[1]
        for part in rows.split(step):
            variance += (part - mean).square_().sum(0)
        return mean, self.mean(variance)


class NormState(NamedTuple):
    """Epsilon and statistics of a batch norm; None where they are the batch's, not yet known."""

    eps: float
    mean: Tensor | None
    variance: Tensor | None

    @classmethod
    def of(cls, norm: nn.Module) -> NormState:
        """A norm's state in the mode that it is in."""
        running = (None, None) if norm.training else (norm.running_mean, norm.running_var)
        return cls(norm.eps, *running)

    @property
    def uses_batch(self) -> bool:
        """Whether the statistics are the batch's."""
        return self.mean is None

    def filled(self, mean: Tensor, variance: Tensor) -> NormState:
        """This state, with the batch's statistics if it uses them."""
        return NormState(self.eps, mean, variance) if self.uses_batch else self

    def invstd(self) -> Tensor:
        """1 / standard deviation."""
        return torch.rsqrt(self.variance + self.eps)

    def affine(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The norm as x * scale + shift."""
        scale = weight * self.invstd()
        return scale, bias - self.mean * scale


def subtract_statistics_gradient(
    grad: Tensor, x: Tensor, mean: Tensor, offset: Tensor, slope: Tensor
) -> None:
    """Subtract offset + (x - mean) * slope from ``grad`` in place.

    For y = a (x - mean) / std + b with statistics of the batch, dx = a / std * dy less this term,
    offset = a / std * mean(dy) and slope = a / std^2 * mean(dy (x - mean) / std).

    Args:
        grad (Tensor): (P, C).
        x (Tensor): (P, C).
        mean (Tensor): (C,).
        offset (Tensor): (C,).
        slope (Tensor): (C,).
    """
    grad.addcmul_(x, slope, value=-1).sub_(offset - mean * slope)


@torch.no_grad()
def next_momentum(norm: nn.Module) -> float:
    """Count one more batch, and tell its weight in a batch norm's running statistics.

    Args:
        norm (nn.Module): A batch norm with running statistics.

    Returns:
        float: Without ``momentum``, that of the average over all batches.
    """
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked += 1
    if norm.momentum is not None:
        return norm.momentum
    return 0.0 if norm.num_batches_tracked is None else 1 / float(norm.num_batches_tracked)


@torch.no_grad()
def update_running_statistics(
    norm: nn.Module, mean: Tensor, variance: Tensor, count: int | Tensor
) -> None:
    """What a training forward pass does to a batch norm's buffers.

    Args:
        norm (nn.Module): A batch norm with running statistics.
        mean (Tensor): (C,), of the batch.
        variance (Tensor): (C,), of the batch, biased.
        count (int or Tensor): Values a channel, at least 2.
    """
    momentum = next_momentum(norm)
    unbiased = variance * (count / (count - 1))
    for running, batch in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        # As PyTorch's, unseen by autograd: an earlier pass may have saved the buffer.
        running.data.mul_(1 - momentum).add_(batch.to(running), alpha=momentum)
