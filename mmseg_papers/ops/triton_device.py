"""Where the Triton kernels run."""

from __future__ import annotations

import importlib.util
from functools import lru_cache

from torch import Tensor


def runs_triton(x: Tensor) -> bool:
    """Whether operations on a tensor run in Triton kernels: on CUDA, where Triton is installed.

    Args:
        x (Tensor): Input of an operation.
    """
    return x.is_cuda and _is_installed()


def check_one_device(**inputs: Tensor | None) -> None:
    """Refuse inputs of several devices, whose addresses mean nothing to one kernel.

    Args:
        **inputs (Tensor, optional): By the names of the arguments.

    Raises:
        ValueError: If one is on another device than the first.
    """
    first, *others = ((name, x.device) for name, x in inputs.items() if x is not None)
    for name, device in others:
        if device != first[1]:
            raise ValueError(
                f"{name} is on {device}, but {first[0]} on {first[1]}; move it with "
                f"{name}.to({str(first[1])!r})"
            )


@lru_cache
def _is_installed() -> bool:
    return importlib.util.find_spec("triton") is not None
