"""Batch statistics as ``torch.nn.BatchNorm2d`` and ``SyncBatchNorm`` compute and keep them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .precision import accumulation_dtype


def is_batch_norm(norm: nn.Module) -> bool:
    """Whether a layer is a batch norm with scale, shift and running statistics.

    Args:
        norm (nn.Module): Any layer.

    Returns:
        bool: True for ``BatchNorm2d`` and ``SyncBatchNorm`` with the usual options.
    """
    return isinstance(norm, _BatchNorm) and norm.affine and norm.track_running_stats


def sync_group(norm: nn.Module) -> dist.ProcessGroup | None:
    """The processes that share a norm's batch statistics.

    Args:
        norm (nn.Module): A batch norm.

    Returns:
        ProcessGroup, optional: None unless the norm is a ``SyncBatchNorm`` and several processes
        run.
    """
    if not isinstance(norm, nn.SyncBatchNorm) or not (dist.is_available() and dist.is_initialized()):
        return None
    group = norm.process_group or dist.group.WORLD
    return group if dist.get_world_size(group) > 1 else None


def total_count(count: int, like: Tensor, group: dist.ProcessGroup | None) -> int:
    """Values a channel over all processes of a group.

    Args:
        count (int): Values a channel of this process.
        like (Tensor): Whose device is used to communicate.
        group (ProcessGroup, optional): None for this process alone.

    Returns:
        int: The sum of the counts.

    Raises:
        ValueError: If it is one, of which no variance can be computed.
    """
    if group is not None:
        total = torch.tensor(count, device=like.device)
        dist.all_reduce(total, group=group)
        count = int(total)
    if count == 1:
        raise ValueError(
            "batch norm needs more than one value a channel while training; use a larger "
            "crop_size or batch_size"
        )
    return count


def all_reduce(sums: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Add up sums over the processes of a group, in place.

    Args:
        sums (Tensor): Of this process.
        group (ProcessGroup, optional): None for this process alone.

    Returns:
        Tensor: ``sums`` itself.
    """
    if group is not None:
        dist.all_reduce(sums, group=group)
    return sums


def moments(rows: Tensor, count: int, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each column, in two passes.

    Args:
        rows (Tensor): (P, C), one column a channel.
        count (int): Of :func:`total_count`.
        group (ProcessGroup, optional): None for this process alone.

    Returns:
        tuple[Tensor, Tensor]: (C,) each, at least float32.
    """
    rows = rows.to(accumulation_dtype(rows))
    mean = all_reduce(rows.sum(0), group) / count
    variance = all_reduce((rows - mean).square_().sum(0), group) / count
    return mean, variance


@torch.no_grad()
def update_running_statistics(norm: nn.Module, mean: Tensor, variance: Tensor, count: int) -> None:
    """What a training forward pass does to a batch norm's buffers.

    Args:
        norm (nn.Module): A batch norm with running statistics.
        mean (Tensor): (C,), of the batch.
        variance (Tensor): (C,), of the batch, biased.
        count (int): Values a channel.
    """
    norm.num_batches_tracked += 1
    momentum = norm.momentum
    if momentum is None:  # the average over all batches
        momentum = 1 / float(norm.num_batches_tracked)
    unbiased = variance * (count / (count - 1))
    for running, batch in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        running.mul_(1 - momentum).add_(batch.to(running), alpha=momentum)
