"""Files of weights: read without running code from them, written whole or not at all."""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from .checkpoint_globals import load_listed
from .fetching import fetch
from .tensorflow import read_tensorflow_checkpoint

#: How PyTorch names what a file asks for beside tensors; up to 2.3, and from 2.4 on.
FOREIGN = re.compile(r"[Uu]nsupported (?:class|(?:global: )?GLOBAL) (\S+)")
#: First bytes of a zip archive and of a pickle; in other files a class is found by chance.
PYTORCH_STARTS = (b"PK", b"\x80")
#: Of a checkpoint in several files: its prefix, and which file it is.
TENSORFLOW_FILE = re.compile(r"(.*)\.(index|meta|data-\d+-of-\d+)")


def read_weights(source: str, sha256: str | None = None) -> Mapping[str, Any]:
    """What a file holds, without running code from it.

    Args:
        source (str): Path or URL of a PyTorch, safetensors or MATLAB file, a TensorFlow checkpoint
            (its prefix, or one of its files) or a ``.tar.gz`` of one. What a URL gives is kept in
            PyTorch's folder of checkpoints, under ``mmseg_papers``.
        sha256 (str, optional): Hexadecimal digits that the file's SHA-256 begins with. Default: not
            checked.

    Returns:
        Mapping[str, Any]: Names and values, perhaps inside an entry such as ``state_dict``.

    Raises:
        ValueError: If the file needs more than tensors and plain data.
        OSError: If it is missing or damaged, or has another SHA-256. What a URL gave is not kept
            then.
        ImportError: If it needs a library that is not installed.
    """
    if "://" not in source:
        return _read(Path(source), sha256)
    # Servers have files of the same name, and some names say nothing.
    folder = hashlib.sha256(source.encode()).hexdigest()[:16]
    name = Path(urlparse(source).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / "mmseg_papers" / folder / name
    if not path.exists():
        fetch(source, path, sha256)
    try:
        return _read(path, sha256)
    except PermissionError:
        raise
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(
            f"{error}. It was kept of {source} and is removed now: the next run downloads it anew"
        ) from error


def read_checkpoint(filename: str) -> Mapping[str, Any]:
    """A checkpoint of a segmentor: a file, or what MMEngine loads by an address with ``://``.

    MMEngine's own reader of files falls back to a mode in which a file can run code; this does not.

    Args:
        filename (str): Path or address.

    Returns:
        Mapping[str, Any]: What was saved; the weights are its ``state_dict``, or itself.

    Raises:
        ValueError: If it holds no weights, or needs more than tensors and plain data.
        OSError: If it is missing or damaged.
    """
    if "://" in filename:
        return CheckpointLoader.load_checkpoint(filename, map_location="cpu")
    loaded = read_weights(filename)
    weights = loaded.get("state_dict", loaded)
    if not isinstance(weights, Mapping) or not any(
        isinstance(value, Tensor) for value in weights.values()
    ):
        raise ValueError(f"checkpoint {filename} holds no weights; it must be a dict of tensors")
    return loaded


def _read(path: Path, sha256: str | None) -> Mapping[str, Any]:
    part = TENSORFLOW_FILE.fullmatch(str(path))
    if part or Path(f"{path}.index").exists():
        if sha256:
            raise ValueError(f"a SHA-256 is of one file, but {path} is of several")
        return read_tensorflow_checkpoint(part[1] if part else path)
    if not path.is_file():
        raise FileNotFoundError(f"neither {path} nor {path}.index is a file")
    if sha256:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if not digest.startswith(sha256.lower()):
            raise OSError(f"the SHA-256 of {path} is {digest}, not {sha256}")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix == ".mat":
        return _matlab(path)
    if path.name.endswith((".tar.gz", ".tgz")):
        return _tensorflow_archive(path)
    return _pytorch(path)


def _pytorch(path: Path) -> Mapping[str, Any]:
    try:
        content = load_listed(path)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # what is no pickle may raise anything
        with path.open("rb") as file:
            is_pytorch = file.read(2).startswith(PYTORCH_STARTS)
        if is_pytorch and (foreign := FOREIGN.search(str(error))):
            raise ValueError(
                f"{path} needs {foreign[1]}, and to build that could run code from the file. If "
                "you trust it, load it once by torch.load(.., weights_only=False) and save its "
                "weights alone"
            ) from error
        raise OSError(f"{path} is no PyTorch file of weights, or is cut short") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dict of weights")
    return content


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(f"{path} needs safetensors: pip install safetensors") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise OSError(f"{path} is no safetensors file or is cut short: {error}") from error


def _matlab(path: Path) -> dict[str, np.ndarray]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        arrays = loadmat(path)
    except NotImplementedError as error:
        raise ValueError(
            f"{path} is a MATLAB 7.3 file, whose objects only MATLAB reads; save its arrays from "
            "there with '-v7'"
        ) from error
    except (MatReadError, OSError, ValueError, zlib.error) as error:
        raise OSError(f"{path} is no MATLAB file or is cut short: {error}") from error
    return {name: array for name, array in arrays.items() if not name.startswith("__")}


def _tensorflow_archive(path: Path) -> dict[str, np.ndarray]:
    """The checkpoint inside an archive, which is unpacked for the moment."""
    try:
        with tempfile.TemporaryDirectory() as folder, tarfile.open(path) as archive:
            members = [m for m in archive if m.isfile() and TENSORFLOW_FILE.fullmatch(m.name)]
            indices = [m.name for m in members if m.name.endswith(".index")]
            if len(indices) != 1:
                raise ValueError(f"{path} holds {len(indices)} TensorFlow checkpoints, not one")
            for member in members:  # by its last name alone, so into the folder
                with open(Path(folder, Path(member.name).name), "wb") as target:
                    shutil.copyfileobj(archive.extractfile(member), target)
            return read_tensorflow_checkpoint(Path(folder, Path(indices[0]).name))
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise OSError(f"{path} is no archive or is cut short: {error}") from error


def save_whole(content: dict, path: Path) -> None:
    """Save a checkpoint so that the file is whole or not there.

    Args:
        content (dict): With ``state_dict``; a ``.safetensors`` file gets that alone.
        path (Path): Its folder is made. A file that is there is replaced.

    Raises:
        OSError: If it cannot be written; nothing is left behind.
        ImportError: If it needs safetensors and that is not installed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import save

            tensors = {name: value.contiguous() for name, value in content["state_dict"].items()}
            partial.write_bytes(save(tensors))
        else:
            torch.save(content, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # PyTorch's for a full disk is the latter
        raise OSError(f"could not write {path}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
