"""Backward passes without a second derivative: asking for one is an error, never a wrong value."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from .export import is_compiling


def once_differentiable(backward: Callable) -> Callable:
    """Decorate the ``backward`` of an autograd function that autograd cannot differentiate.

    PyTorch's decorator of that name looks at the upstream gradients only: what the gradient owes to
    the inputs is dropped in silence. Here the gradients hang, too, on the saved tensors, so those
    must hold the differentiable inputs or, where they are not needed, their :func:`graph_anchor`.

    Args:
        backward (Callable): Of a ``torch.autograd.Function``.

    Returns:
        Callable: A backward pass whose results raise a ``RuntimeError`` if they are differentiated.
    """

    operation = backward.__module__.rpartition(".")[2]

    @wraps(backward)
    def wrapper(ctx, *upstream):
        # Compiled graphs refuse by themselves.
        has_graph = torch.is_grad_enabled() and not is_compiling()
        ctx = _ReadOnce(ctx) if has_graph else ctx
        with torch.no_grad():
            grads = backward(ctx, *upstream)
        if not has_graph:
            return grads
        grads = grads if isinstance(grads, tuple) else (grads,)
        return _Refusal.apply(operation, len(grads), *grads, *upstream, *ctx.saved_tensors)

    return wrapper


def graph_anchor(x: Tensor) -> Tensor:
    """An empty tensor that autograd follows to ``x``, and that does not keep its memory.

    Args:
        x (Tensor): At least one dimension.
    """
    return x[:0].clone()


class _ReadOnce:
    """A context whose saved tensors are read once, as checkpointing allows."""

    def __init__(self, ctx) -> None:
        self._ctx = ctx
        self.saved_tensors = ctx.saved_tensors

    def __getattr__(self, name: str):
        return getattr(self._ctx, name)


class _Refusal(torch.autograd.Function):
    """The first ``count`` tensors; they depend on all others in a way that is not known."""

    @staticmethod
    def forward(ctx, operation, count, *tensors):
        ctx.operation = operation
        return tensors[:count]

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(
            f"{ctx.operation} was differentiated twice, but it is once_differentiable; for second "
            "derivatives compute within mmseg_papers.ops.use_references()"
        )
