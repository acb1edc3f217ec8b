"""Multiply-adds of models and of their parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(call: Callable, *inputs: Any) -> int:
    """Multiply-adds of the convolutions, transposed ones too, and matrix products of a call.

    Norms, activations, pooling and interpolation do not count, nor what runs in a kernel of this
    package: :func:`mmseg_papers.ops.use_references` makes all of a model's count.

    Args:
        call (Callable): A module or function. On the meta device nothing is computed; elsewhere an
            interpolation that an operation of this package does by matrix products counts.
        *inputs (Any): Its arguments.

    Returns:
        int: A multiplication and its addition are one.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        call(*inputs)
    return counter.get_total_flops() // 2
