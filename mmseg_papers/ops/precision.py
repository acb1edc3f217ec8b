"""In which precision the operations compute and add up."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def check_floating_point(name: str, x: Tensor) -> None:
    """Refuse integers, to which an operation's result would be cut.

    Args:
        name (str): Of the argument, for the error.
        x (Tensor): Any.

    Raises:
        TypeError: If ``x`` is not floating point.
    """
    if not x.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {x.dtype}")


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """The dtype of sums over values of ``x``.

    Args:
        x (Tensor): Floating point.

    Returns:
        torch.dtype: float64 for float64, else float32.
    """
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def autocast_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which a convolution of ``x`` runs.

    Args:
        x (Tensor): Floating point.

    Returns:
        torch.dtype: Autocast's under ``torch.autocast``, which leaves float64 alone; else that of
        ``x``.
    """
    if not _is_autocast(x) or x.dtype == torch.float64:
        return x.dtype
    return torch.get_autocast_gpu_dtype() if x.is_cuda else torch.get_autocast_cpu_dtype()


def no_autocast(x: Tensor) -> AbstractContextManager:
    """Where products are in the dtype of their factors, also within ``torch.autocast``.

    Args:
        x (Tensor): On the device of the factors.

    Returns:
        AbstractContextManager: For a ``with`` statement.
    """
    # Entered only where it changes something: a recorded graph would hold it.
    return torch.autocast(x.device.type, enabled=False) if _is_autocast(x) else nullcontext()


def convolutions_use_tf32() -> bool:
    """Whether float32 convolutions on CUDA run in TF32."""
    # PyTorch 2.9's switches, beside which reading the older ones may raise an error.
    if hasattr(torch.backends.cudnn, "conv"):
        return torch.backends.cudnn.conv.fp32_precision == "tf32"
    return torch.backends.cudnn.allow_tf32


def products_use_tf32() -> bool:
    """Whether float32 products of matrices on CUDA run in TF32."""
    products = torch.backends.cuda.matmul
    if hasattr(products, "fp32_precision"):
        return products.fp32_precision == "tf32"
    return products.allow_tf32


def _is_autocast(x: Tensor) -> bool:
    if x.is_cuda:
        return torch.is_autocast_enabled()
    return x.device.type == "cpu" and torch.is_autocast_cpu_enabled()
