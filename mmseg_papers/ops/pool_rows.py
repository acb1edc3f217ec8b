"""Pooling of every row over its width, then of the rows into a few bins."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .export import is_exporting, references_asked
from .layout import is_channels_last
from .precision import accumulation_dtype, no_autocast

POOLINGS = ("mean", "max")


def pool_rows_reference(x: Tensor, rows: int, pooling: str = "mean") -> Tensor:
    """Plain form of :func:`pool_rows`: one adaptive pooling to ``rows`` x 1."""
    pool = F.adaptive_avg_pool2d if pooling == "mean" else F.adaptive_max_pool2d
    return pool(x, (rows, 1)).squeeze(3)


def pool_rows(x: Tensor, rows: int, pooling: str = "mean") -> Tensor:
    """Adaptive pooling to ``rows`` x 1 in two separable steps.

    A bin holds whole rows, so its mean (maximum) is that of the rows' means (maxima): the map is
    read once, along its rows, and the bins see (N, C, H) only. The backward pass is deterministic,
    on CUDA too. Times are listed in docs/benchmarks.md.

    Args:
        x (Tensor): (N, C, H, W), floating point.
        rows (int): Number of bins, at least 1; they overlap where H is no multiple of it.
        pooling (str): ``'mean'`` or ``'max'``. Default: 'mean'.

    Returns:
        Tensor: (N, C, rows), ``adaptive_avg_pool2d(x, (rows, 1))`` or that of the maximum.

    Raises:
        ValueError: If the map, ``rows`` or ``pooling`` is not as described.
    """
    if x.dim() != 4 or 0 in x.shape[2:]:
        raise ValueError(f"x must be (N, C, H, W), H and W at least 1, got {tuple(x.shape)}")
    _check(pooling, rows)
    if references_asked():
        return pool_rows_reference(x, rows, pooling)
    # On the CPU, adaptive pooling is fast in channels_last, and in the maximum's backward pass.
    is_fast = pooling == "max" if _learns(x) else is_channels_last(x)
    if is_fast and not (x.is_cuda or is_exporting()):
        return pool_rows_reference(x, rows, pooling)
    return bin_rows(pool_width(x, pooling), rows, pooling)


def _check(pooling: str, rows: int = 1) -> None:
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")


def pool_width(x: Tensor, pooling: str = "mean") -> Tensor:
    """Mean or maximum of every row.

    Args:
        x (Tensor): (N, C, H, W).
        pooling (str): ``'mean'`` or ``'max'``. Default: 'mean'.

    Returns:
        Tensor: (N, C, H).

    Raises:
        ValueError: If ``pooling`` is neither.
    """
    _check(pooling)
    height, width = x.shape[2:]
    if is_exporting():
        return x.mean(3) if pooling == "mean" else x.max(3).values
    is_last = is_channels_last(x)
    if pooling == "mean" and _learns(x) and x.dtype in (torch.float32, torch.float64):
        # The gradient of a sum stays a broadcast; that of a mean is written out.
        sums = x.permute(0, 2, 3, 1).sum(2).transpose(1, 2) if is_last else x.sum(3)
        return sums / width
    if is_last and not x.is_cuda:
        pool = F.adaptive_avg_pool2d if pooling == "mean" else F.adaptive_max_pool2d
        return pool(x, (height, 1)).squeeze(3)
    if pooling == "mean":
        return x.mean(3)
    # amax is faster, but shares the gradient between equal maxima; adaptive pooling does not.
    return x.max(3).values if _learns(x) else x.amax(3)


def _learns(x: Tensor) -> bool:
    return torch.is_grad_enabled() and x.requires_grad


def bin_rows(profile: Tensor, rows: int, pooling: str = "mean") -> Tensor:
    """Pool the values of all rows into bins of rows.

    Args:
        profile (Tensor): (N, C, H).
        rows (int): Number of bins, at least 1.
        pooling (str): ``'mean'`` or ``'max'``. Default: 'mean'.

    Returns:
        Tensor: (N, C, rows), ``adaptive_avg_pool1d(profile, rows)`` or that of the maximum.

    Raises:
        ValueError: If ``rows`` is below 1 or ``pooling`` is neither.
    """
    _check(pooling, rows)
    if references_asked():
        pool = F.adaptive_avg_pool1d if pooling == "mean" else F.adaptive_max_pool1d
        return pool(profile, rows)
    height = profile.shape[2]
    if not is_exporting() and height == rows:  # asked first, or a graph holds for this height only
        return profile
    members, sizes = adaptive_bins(height, rows, profile.device)
    if pooling == "mean":
        wide = accumulation_dtype(profile)  # the sums of many rows are beyond half precision
        with no_autocast(profile):
            means = profile.to(wide) @ members.to(wide) / sizes.to(wide)
        return means.to(profile.dtype)
    if not profile.is_cuda and not is_exporting():
        return F.adaptive_max_pool1d(profile, rows)
    outside = ~members.T
    return profile[:, :, None].masked_fill(outside, -torch.inf).max(3).values


def adaptive_bins(length: int, bins: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Which places are in which bin of adaptive pooling.

    Args:
        length (int): Number of places.
        bins (int): Number of bins, which overlap where ``length`` is no multiple of it.
        device (torch.device): Of the results.

    Returns:
        tuple[Tensor, Tensor]: Membership (length, bins), bool, and places of each bin, (bins,).
    """
    index = torch.arange(bins, device=device)
    start = index * length // bins
    stop = ((index + 1) * length + bins - 1) // bins
    place = torch.arange(length, device=device)[:, None]
    return (place >= start) & (place < stop), stop - start
