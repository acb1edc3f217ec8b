"""Whether a graph is being written to a file."""

from __future__ import annotations

import torch


def is_exporting() -> bool:
    """True inside ``torch.export`` and ONNX export, whose files must hold no operation of ours.

    Returns:
        bool: Always False for ``torch.export`` on a PyTorch that cannot tell (before 2.7).
    """
    says = getattr(torch.compiler, "is_exporting", None)
    return torch.onnx.is_in_onnx_export() or (says is not None and says())


def is_traced() -> bool:
    """True while exporting and inside ``torch.compile``, which fuses plain formulas by itself.

    Returns:
        bool: As :func:`is_exporting` on a PyTorch that cannot tell whether it compiles.
    """
    is_compiling = getattr(torch.compiler, "is_compiling", None)
    return is_exporting() or (is_compiling is not None and is_compiling())
