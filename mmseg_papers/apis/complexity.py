"""Multiply-adds of models and of their parts."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode

from .. import models, ops


def multiply_adds(call: Callable, *inputs: Any) -> int:
    """Multiply-adds of the convolutions, transposed ones too, and matrix products of a call.

    Norms, activations, pooling and interpolation do not count, nor what runs in a kernel of this
    package: see :func:`plain_formulas`.

    Args:
        call (Callable): A module or function. On the meta device nothing is computed.
        *inputs (Any): Its arguments.

    Returns:
        int: A multiplication and its addition are one.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        call(*inputs)
    return counter.get_total_flops() // 2


@contextmanager
def plain_formulas() -> Iterator[None]:
    """Let this package's models run the ``*_reference`` of each operation, as papers draw it."""
    plain = {
        function: getattr(ops, f"{name}_reference")
        for name, function in vars(ops).items()
        if hasattr(ops, f"{name}_reference")
    }
    with ExitStack() as stack:
        for module_name, module in list(sys.modules.items()):
            if not module_name.startswith(models.__name__):
                continue
            for name, value in list(vars(module).items()):
                if isinstance(value, FunctionType) and value in plain:
                    formula = _without_options(plain[value])
                    stack.enter_context(mock.patch.object(module, name, formula))
        yield


def _without_options(reference: Callable) -> Callable:
    """A reference that ignores the options of how its operation is computed."""
    options = inspect.signature(reference).parameters

    def formula(*args: Any, **kwargs: Any) -> Any:
        return reference(*args, **{k: v for k, v in kwargs.items() if k in options})

    return formula
