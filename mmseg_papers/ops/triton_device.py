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


@lru_cache
def _is_installed() -> bool:
    return importlib.util.find_spec("triton") is not None
