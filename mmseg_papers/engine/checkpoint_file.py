"""Reading a checkpoint, with errors that name the file."""

from __future__ import annotations

import re
from pathlib import Path
from pickle import UnpicklingError

import torch
from mmengine.runner import CheckpointLoader


def read_checkpoint(filename: str) -> dict:
    """Read a checkpoint without building what it does not need.

    MMEngine's own reader falls back to a mode in which a file can run code; this one does not, from
    PyTorch 2.6 on.

    Args:
        filename (str): A file, or what MMEngine's ``CheckpointLoader`` loads with ``://`` in it.

    Returns:
        dict: What was saved; weights of a segmentor are its ``state_dict``, or itself.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, not whole, or would run code.
    """
    if "://" in filename:
        return CheckpointLoader.load_checkpoint(filename, map_location="cpu")
    file = Path(filename)
    if not file.is_file():
        raise FileNotFoundError(f"checkpoint {file} does not exist")
    if file.stat().st_size == 0:
        raise ValueError(f"checkpoint {file} is empty; save or download it again")
    try:
        loaded = torch.load(file, map_location="cpu")
    except UnpicklingError as error:
        refused = re.search(r"(?:GLOBAL|class) ([\w.]+)", str(error))
        if refused is None:
            raise ValueError(f"{file} is no checkpoint of PyTorch") from error
        raise ValueError(
            f"checkpoint {file} was not loaded, since it names {refused[1]}, through which a file "
            "could run code. If you trust it, save its weights anew: "
            "torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW_FILE)"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"checkpoint {file} is no checkpoint of PyTorch, or is cut off; save or download it "
            "again"
        ) from error
    weights = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(weights, dict) or not any(
        isinstance(value, torch.Tensor) for value in weights.values()
    ):
        raise ValueError(f"checkpoint {file} holds no weights; it must be a dict of tensors")
    return loaded
