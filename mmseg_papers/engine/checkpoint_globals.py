"""Lets ``torch.load`` read MMEngine's own checkpoints without trusting the file.

Since PyTorch 2.6 ``torch.load`` builds only what is on its list (``weights_only=True``). A
checkpoint of MMEngine's runner also holds log histories and NumPy numbers, which are not on it:
MMEngine 0.10.7 then fails on test and resume, and onedl-mmengine 0.10.12, whose own list lacks
``float32``, reads the whole file again without any protection.
"""

from __future__ import annotations

from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.utils import digit_version

try:
    from numpy._core import multiarray
except ImportError:  # before NumPy 1.26
    from numpy.core import multiarray


def allow_checkpoint_globals() -> None:
    """Register what MMEngine's checkpoints hold with ``torch.serialization.add_safe_globals``.

    That is log histories and NumPy's booleans, integers and floats: data, nothing through which a
    file could run code. Before PyTorch 2.6 nothing is registered, nor needed.
    """
    if digit_version(torch.__version__) < digit_version("2.6.0"):
        return
    allowed = {
        "mmengine.logging.history_buffer.HistoryBuffer": HistoryBuffer,
        "builtins.getattr": _statistics_method,
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
    }
    for core in ("core", "_core"):  # NumPy 2 renamed it; either reads the other's files
        for name in ("_reconstruct", "scalar"):
            allowed[f"numpy.{core}.multiarray.{name}"] = getattr(multiarray, name)
    for code in np.typecodes["AllInteger"] + "?efd":
        kind = type(np.dtype(code))
        allowed[f"numpy.dtypes.{kind.__name__}"] = kind
    # With their names: onedl-mmengine takes the bare ones off the list again after each file.
    torch.serialization.add_safe_globals([(value, name) for name, value in allowed.items()])


def _statistics_method(owner: Any, name: str) -> Any:
    """Stand in for ``getattr``, through which a pickled HistoryBuffer names its methods.

    Args:
        owner (Any): What the file takes an attribute of.
        name (str): The attribute.

    Returns:
        Any: The method.

    Raises:
        UnpicklingError: If it is no method that a HistoryBuffer is saved with.
    """
    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise UnpicklingError(f"a checkpoint may not take attribute {name!r} of {owner!r}")
    return getattr(owner, name)
