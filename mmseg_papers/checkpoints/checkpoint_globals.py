"""Lets ``torch.load`` read MMEngine's own checkpoints without trusting the file.

``torch.load(weights_only=True)`` builds only what is on its list. A checkpoint of MMEngine's runner
also holds log histories and NumPy numbers, which are not on it. From PyTorch 2.6 on, where the list
can take them all, MMEngine 0.10.7 therefore fails on test and resume, and onedl-mmengine 0.10.12,
whose own list lacks ``float32``, reads the whole file again without any protection. Before, nothing
of MMEngine's asks for the list; :func:`load_listed` does, with a list of its own.
"""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.utils import digit_version

try:
    from numpy._core import multiarray
except ImportError:  # before NumPy 1.26
    from numpy.core import multiarray

#: Whether PyTorch's list takes functions under other names than their own.
LIST_TAKES_NAMES = digit_version(torch.__version__) >= digit_version("2.6.0")


def allow_checkpoint_globals() -> None:
    """Register what MMEngine's checkpoints hold with ``torch.serialization.add_safe_globals``.

    That is log histories and NumPy's booleans, integers and floats: data, nothing through which a
    file could run code. Before PyTorch 2.6 nothing is registered.
    """
    if LIST_TAKES_NAMES:
        # With their names: onedl-mmengine takes the bare ones off the list again after each file.
        names = [(value, name) for name, value in _globals().items()]
        torch.serialization.add_safe_globals(names)


def load_listed(path: Path) -> Any:
    """Read tensors, plain data and what :func:`allow_checkpoint_globals` names, on the CPU.

    Args:
        path (Path): File of ``torch.save``.

    Returns:
        Any: What was saved.

    Raises:
        UnpicklingError: If the file needs anything else, which could run code from it.
        Exception: Of many kinds, if it is no file of ``torch.save``.
    """
    if LIST_TAKES_NAMES:
        return torch.load(path, map_location="cpu", weights_only=True)
    module = ModuleType("listed_pickle")
    module.Unpickler = _ListedUnpickler
    module.load = _load
    return torch.load(path, map_location="cpu", weights_only=False, pickle_module=module)


def _globals() -> dict[str, Any]:
    """Names in files, and what stands for them."""
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
    return allowed


class _ListedUnpickler(pickle.Unpickler):
    """Unpickler for PyTorch before 2.6 that builds only what is listed."""

    def find_class(self, module: str, name: str) -> Any:
        # PyTorch's own list of those versions, and how NumPy writes bytes.
        listed = torch._weights_only_unpickler._get_allowed_globals() | _globals()
        listed["_codecs.encode"] = codecs.encode
        # torch.save writes Python 2's name.
        full_name = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if full_name not in listed:
            raise pickle.UnpicklingError(f"Unsupported class {full_name}")
        return listed[full_name]


def _load(file: BinaryIO, **options: Any) -> Any:
    """``pickle.load`` of what is listed."""
    return _ListedUnpickler(file, **options).load()


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
        raise pickle.UnpicklingError(f"a checkpoint may not take attribute {name!r} of {owner!r}")
    return getattr(owner, name)
