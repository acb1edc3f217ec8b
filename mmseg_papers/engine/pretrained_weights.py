"""Pretrained weights without a network, and errors that say how to get them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import (
    _process_mmcls_checkpoint,
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    load_from_http,
    load_from_mmcls,
    load_from_openmmlab,
)
from mmengine.runner.checkpoint import load_from_local as load_existing

from ..checkpoints.files import read_weights
from ..models.option_errors import near_names

#: Environment variable with a folder of weights, looked into before any download.
FOLDER_VARIABLE = "MMSEG_PAPERS_WEIGHTS"


def load_weights(filename: str, map_location: str | None = None) -> Mapping[str, Any]:
    """Load ``open-mmlab://..``, ``mmcls://..`` or ``https://..`` from the folder, else by MMEngine.

    Args:
        filename (str): As in ``init_cfg.checkpoint`` or ``load_from``.
        map_location (str, optional): As ``torch.load``; from the folder it is always the CPU.

    Returns:
        Mapping[str, Any]: The checkpoint.

    Raises:
        FileNotFoundError: If it is in no folder and cannot be downloaded; names the URL, the cache,
            the hash if the file's name has one, and what to do.
        OSError: If the file in the folder or the cache is damaged; names it.
        ValueError: If MMEngine knows no weights of this name.
    """
    scheme, _, name = filename.partition("://")
    is_name, url, download = not scheme.startswith("http"), filename, load_from_http
    if is_name:
        urls, download = get_external_models(), load_from_openmmlab
        if scheme == "mmcls":
            urls, download = get_mmcls_models(), load_from_mmcls
        name = get_deprecated_model_names().get(name, name)
        if name not in urls:
            raise ValueError(f"MMEngine knows no weights {filename}{near_names(name, urls)}")
        url = urls[name]
    file = Path(urlparse(url).path).name
    cache = Path(torch.hub.get_dir()) / "checkpoints" / file
    if local := _in_folder(file):
        weights = _read(local, f"replace it by {url}, or remove it")
        return _process_mmcls_checkpoint(weights) if scheme == "mmcls" else weights
    try:
        return download(filename, map_location)
    except (EOFError, OSError, RuntimeError, UnpicklingError) as error:
        if cache.is_file():
            _read(cache, f"remove it, and {url} is downloaded again")
            raise
        # Of the network; of a wrong hash.
        digits = re.fullmatch(r".*-([\da-f]{8,64})", Path(file).stem)
        sha256 = f" (its SHA-256 begins with {digits[1]})" if digits else ""
        # What has a name in MMEngine is a backbone's; a URL may be of a model to predict with.
        untrained = ", or set model.backbone.init_cfg to None to train from random weights"
        raise FileNotFoundError(
            f"the weights {filename} are not here and could not be downloaded: {error}. Get {url} "
            f"elsewhere{sha256} and put it at {cache}, or into a folder named by the environment "
            f"variable {FOLDER_VARIABLE}; or give a file of yours in their place"
            f"{untrained * is_name}"
        ) from error


def load_from_local(filename: str, map_location: str | None = None) -> Mapping[str, Any]:
    """Load a file; if it does not exist, the one of its name in the folder.

    Args:
        filename (str): Path, such as the ``pretrained/..`` of converted weights.
        map_location (str, optional): As ``torch.load``; from the folder it is always the CPU.

    Returns:
        Mapping[str, Any]: The checkpoint.

    Raises:
        FileNotFoundError: If there is neither; says how weights are converted.
        OSError: If the file in the folder is damaged; names it.
    """
    if Path(filename).expanduser().is_file():
        return load_existing(filename, map_location)
    if local := _in_folder(Path(filename).name):
        print_log(f"{filename} is not there; loading {local}", "current")
        return _read(local, "replace it, or remove it")
    raise FileNotFoundError(
        f"the weights {filename} are neither there nor in a folder named by the environment "
        f"variable {FOLDER_VARIABLE}. Authors' weights are converted by `python -m mmseg_papers "
        f"run convert_checkpoint PAPER SOURCE {filename}`; the paper's read-me in configs/ names "
        "PAPER and SOURCE"
    )


def _in_folder(file: str) -> Path | None:
    """The file of this name in the folder of weights; None if there is none."""
    folder = os.environ.get(FOLDER_VARIABLE)
    local = Path(folder or ".").expanduser() / file
    return local if folder and local.is_file() else None


def _read(file: Path, cure: str) -> Mapping[str, Any]:
    try:
        return read_weights(str(file))
    except PermissionError:
        raise
    except OSError as error:
        raise OSError(f"{error}: {cure}") from error


def register_weights_loader() -> None:
    """Let MMEngine load files, ``open-mmlab://``, ``mmcls://`` and ``https://`` by this module.

    A loader that a project has registered for one of them before stays.
    """
    ours = {
        load_existing: load_from_local,
        **dict.fromkeys((load_from_openmmlab, load_from_mmcls, load_from_http), load_weights),
    }
    for prefix, loader in CheckpointLoader._schemes.items():
        if loader in ours:
            CheckpointLoader.register_scheme(prefix, ours[loader], force=True)
