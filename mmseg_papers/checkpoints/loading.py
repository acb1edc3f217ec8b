"""The authors' files where MMEngine expects a checkpoint: ``papers://<paper>/<path or URL>``."""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import io
import re
import tarfile
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import parse_qsl, urlparse

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ..models.layers.complete_loading import SOURCE
from . import CONVERTERS, convert_state_dict
from .fetching import fetch
from .tensorflow import read_tensorflow_checkpoint

PREFIX = "papers://"
#: path or URL, ?options of the converter, #sha256=digits
ADDRESS = re.compile(
    r"papers://(?P<paper>[^/]+)/(?P<file>.+?)(\?(?P<options>[^?#]+))?(#sha256=(?P<sha256>[\da-f]+))?",
    re.IGNORECASE,
)


def load_from_authors(address: str, map_location: str | None = None) -> dict:
    """Load a file of a paper's authors, converted; MMEngine calls this for ``papers://``.

    A segmentor of this package takes what comes from here only whole: see
    :func:`mmseg_papers.models.layers.complete_loading.check_whole`.

    Args:
        address (str): ``papers://<paper>/<path or URL>``, such as
            ``papers://hrnet/weights/hrnet_cs_8090_torch11.pth``; ``paper`` is a key of
            :data:`mmseg_papers.checkpoints.CONVERTERS`. Then, if the converter needs them,
            ``?option=value&..`` and, to check the file, ``#sha256=`` and the digits that its
            SHA-256 begins with. A path with a leading slash makes two slashes.
        map_location (str, optional): As ``torch.load``.

    Returns:
        dict: ``state_dict``, under the names of our modules.

    Raises:
        ValueError: If the address, the paper or an option is wrong, or the file is not safe.
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be read or downloaded, or has another SHA-256.
    """
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(f"{address!r} is not of the form papers://<paper>/<path or URL>")
    paper, options = found["paper"], dict(parse_qsl(found["options"] or ""))
    weights = convert_file(paper, found["file"], options, found["sha256"])
    state_dict = OrderedDict((k, v.to(map_location or "cpu")) for k, v in weights.items())
    # MMEngine hands this on to the module that loads.
    state_dict._metadata = OrderedDict({"": {SOURCE: address}})
    return dict(state_dict=state_dict)


def register_papers_loader() -> None:
    """Let MMEngine load ``papers://`` by this module."""
    CheckpointLoader.register_scheme(prefixes=PREFIX, loader=load_from_authors, force=True)


def convert_file(
    paper: str, source: str, options: Mapping[str, str], sha256: str | None = None
) -> dict[str, Tensor]:
    """Read and convert a file of a paper's authors, and log what is in it.

    Args:
        paper (str): A key of :data:`CONVERTERS`.
        source (str): Path or URL.
        options (Mapping[str, str]): Of the paper's converter, in Python or as plain text.
        sha256 (str, optional): Digits that its SHA-256 begins with. Default: not checked.

    Returns:
        dict[str, Tensor]: Weights under the names of our modules.

    Raises:
        ValueError: If the paper or an option is unknown, or the file does not fit or is not safe.
        OSError: If it cannot be read or downloaded, or has another SHA-256.
    """
    if paper not in CONVERTERS:
        near = difflib.get_close_matches(paper, CONVERTERS, n=1)
        raise ValueError(
            f"no paper {paper!r}; there are {', '.join(CONVERTERS)}"
            + (f". Did you mean {near[0]}?" if near else "")
        )
    allowed = list(inspect.signature(CONVERTERS[paper]).parameters)[1:]
    for name in options:
        if name not in allowed:
            raise ValueError(
                f"the converter of {paper} has no option {name!r}; it has "
                f"{', '.join(allowed) or 'none'}"
            )
    originals = read_weights(source, sha256)
    try:
        weights = convert_state_dict(
            paper, originals, **{name: _value(text) for name, text in options.items()}
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{source} is no file of {paper}: {error.args[0]}") from error
    if not weights:
        raise ValueError(f"{source} holds no weights of {paper}")
    print_log(f"{source}, {paper}\n{table(weights)}", "current")
    return weights


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def table(weights: Mapping[str, Tensor]) -> str:
    """Tensors and parameters of each part of a model, as text.

    Args:
        weights (Mapping[str, Tensor]): Under the names of our modules.

    Returns:
        str: A line for each part and one for all.
    """
    parts: dict[str, list[Tensor]] = {}
    for name, value in weights.items():
        parts.setdefault(".".join(name.split(".")[:2]), []).append(value)
    shown = Table("part", "tensors", "numbers")
    for part, tensors in [*parts.items(), ("all", list(weights.values()))]:
        shown.add_row(part, str(len(tensors)), f"{sum(t.numel() for t in tensors):,}")
    console = Console(file=io.StringIO(), width=80)
    console.print(shown)
    return console.file.getvalue()


def read_weights(source: str, sha256: str | None = None) -> Mapping[str, Any]:
    """What a file holds, without running code from it.

    Args:
        source (str): Path or URL of a PyTorch or safetensors file, a TensorFlow checkpoint (without
            or with ``.index``) or a ``.tar.gz`` of one. What a URL gives is kept in PyTorch's
            folder of checkpoints.
        sha256 (str, optional): Digits that the file's SHA-256 begins with. Default: not checked.

    Returns:
        Mapping[str, Any]: Names and values, perhaps inside an entry such as ``state_dict``.

    Raises:
        ValueError: If the file needs more than tensors.
        OSError: If it is missing or damaged, or has another SHA-256.
    """
    path = Path(source)
    if "://" in source:
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(source).path).name
        if not path.exists():
            fetch(source, path, sha256)
    if Path(f"{path}.index").exists() or path.suffix == ".index":
        if sha256:
            raise ValueError("#sha256 is of one file; a TensorFlow checkpoint has several")
        return read_tensorflow_checkpoint(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is neither {path} nor {path}.index")
    if sha256:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if not digest.startswith(sha256.lower()):
            raise OSError(f"the SHA-256 of {path} is {digest}, not {sha256}")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if tarfile.is_tarfile(path) and path.name.endswith((".tar.gz", ".tgz")):
        return _tensorflow_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, and reading that would run code from it: {error}. If "
            "you trust it, load it once with torch.load(..., weights_only=False) and save its "
            "state dict"
        ) from error
    except (EOFError, RuntimeError) as error:
        raise OSError(f"{path} is no PyTorch file or is cut short: {error}") from error
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


def _tensorflow_archive(path: Path) -> dict[str, np.ndarray]:
    """The checkpoint inside an archive of the authors, which is unpacked for the moment."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path) as archive:
        members = [
            m for m in archive.getmembers() if re.search(r"\.(index|data-[\d-]+of-\d+)$", m.name)
        ]
        archive.extractall(folder, members, filter="data")
        indices = sorted(Path(folder).rglob("*.index"))
        if len(indices) != 1:
            raise ValueError(f"{path} must hold one TensorFlow checkpoint, found {len(indices)}")
        return read_tensorflow_checkpoint(indices[0])


def save_whole(content: dict, path: Path) -> Path:
    """Save a checkpoint so that the file is whole or not there.

    Args:
        content (dict): With ``state_dict``; a ``.safetensors`` file gets that alone.
        path (Path): Its folder is made. A file that is there is replaced.

    Returns:
        Path: ``path``.

    Raises:
        OSError: If it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import save_file

            tensors = {name: value.contiguous() for name, value in content["state_dict"].items()}
            save_file(tensors, partial)
        else:
            torch.save(content, partial)
        return partial.replace(path)
    except RuntimeError as error:  # PyTorch's for a full disk
        raise OSError(f"could not write {path}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
