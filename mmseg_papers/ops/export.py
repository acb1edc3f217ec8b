"""Where operations compute their plain formulas.

While others write or differentiate a graph of them, and when asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.autograd import forward_ad

_asked = False


@contextmanager
def use_references() -> Iterator[None]:
    """Let every operation compute its ``*_reference``, to compare a whole model with and without.

    Not safe in several threads at once.
    """
    global _asked
    before, _asked = _asked, True
    try:
        yield
    finally:
        _asked = before


def references_asked() -> bool:
    """True inside :func:`use_references`, ``torch.func`` transforms and forward-mode derivatives.

    Operations have no forward-mode formulas, and PyTorch takes the tangents of a
    ``torch.library.custom_op`` for zero without a word; ``torch.func`` transforms no autograd
    function of ours. The plain forms are right in all.

    Returns:
        bool: True, too, for what does not depend on a dual tensor while a level of
        ``torch.autograd.forward_ad`` is open, as in ``torch.func.jvp`` and ``jacfwd``.
    """
    return _asked or getattr(forward_ad, "_current_level", -1) >= 0 or _is_transformed()


def _is_transformed() -> bool:
    """True inside ``torch.func.grad``, ``vmap`` and the like; not known while compiling."""
    look = getattr(torch._C._functorch, "peek_interpreter_stack", None)
    return look is not None and not is_compiling() and look() is not None


def is_exporting() -> bool:
    """True inside ``torch.export``, ONNX export and ``torch.jit.trace``.

    Their graphs must hold no operation of ours: others read them, MMEngine counts the multiply-adds
    (``mim run mmseg get_flops``) of PyTorch's own operations in a trace.

    Returns:
        bool: True where :func:`references_asked`, too; always False for ``torch.export`` on a
        PyTorch that cannot tell (before 2.7).
    """
    says = getattr(torch.compiler, "is_exporting", None)
    return (
        references_asked()
        or torch.onnx.is_in_onnx_export()
        or torch.jit.is_tracing()
        or (says is not None and says())
    )


def is_traced() -> bool:
    """True while exporting and inside ``torch.compile``, which fuses plain formulas by itself.

    Returns:
        bool: As :func:`is_exporting` on a PyTorch that cannot tell whether it compiles.
    """
    return is_exporting() or is_compiling()


def is_compiling() -> bool:
    """True inside ``torch.compile`` and ``torch.export``; False on a PyTorch that cannot tell."""
    says = getattr(torch.compiler, "is_compiling", None)
    return says is not None and says()
