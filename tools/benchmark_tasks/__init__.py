"""What the benchmark runs, one module a paper: ``TASKS`` maps an operation to its cases.

A case ``make(variant, layout)`` prepares its inputs and returns what to time: a function of no
arguments that gives tensors, compared between the variants ``'stock'`` and ``'ours'``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

import torch
from torch import Tensor

Make = Callable[[str, torch.memory_format], Callable[[], list[Tensor]]]


def device() -> torch.device:
    """Where the benchmarks run: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def random_map(shape: tuple[int, ...], layout: torch.memory_format, grad: bool = False) -> Tensor:
    """Standard normal values, the same in every process."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator).to(device()).to(memory_format=layout)
    return x.requires_grad_(grad)


def all_tasks() -> dict[str, dict[str, Make]]:
    """The cases of every module here, by operation."""
    return {
        operation: cases
        for module in pkgutil.iter_modules(__path__)
        for operation, cases in importlib.import_module(f"{__name__}.{module.name}").TASKS.items()
    }
