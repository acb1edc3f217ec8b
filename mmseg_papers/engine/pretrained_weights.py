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
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import (
    get_deprecated_model_names,
    get_external_models,
    load_from_http,
    load_from_openmmlab,
)

from ..checkpoints.files import read_weights
from ..models.option_errors import near_names

#: Environment variable with a folder of weights, looked into before any download.
FOLDER_VARIABLE = "MMSEG_PAPERS_WEIGHTS"


def load_weights(filename: str, map_location: str | None = None) -> Mapping[str, Any]:
    """Load ``open-mmlab://..`` or ``https://..`` from the local folder, else by MMEngine.

    Args:
        filename (str): As in ``init_cfg.checkpoint`` or ``load_from``.
        map_location (str, optional): As ``torch.load``; from the folder it is always the CPU.

    Returns:
        Mapping[str, Any]: The checkpoint.

    Raises:
        FileNotFoundError: If it is in no folder and cannot be downloaded; names the URL, the cache,
            the hash if the file's name has one, and what to do.
        OSError: If the file in the folder or the cache is damaged; names it.
        ValueError: If MMEngine knows no such ``open-mmlab://`` weights.
    """
    is_name, url = not filename.startswith("http"), filename
    if is_name:
        urls, name = get_external_models(), filename.partition("://")[2]
        name = get_deprecated_model_names().get(name, name)
        if name not in urls:
            raise ValueError(f"MMEngine knows no weights {filename}{near_names(name, urls)}")
        url = urls[name]
    file = Path(urlparse(url).path).name
    cache = Path(torch.hub.get_dir()) / "checkpoints" / file
    if folder := os.environ.get(FOLDER_VARIABLE):
        local = Path(folder).expanduser() / file
        if local.is_file():
            return _read(local, f"replace it by {url}, or remove it")
    try:
        return (load_from_openmmlab if is_name else load_from_http)(filename, map_location)
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


def _read(file: Path, cure: str) -> Mapping[str, Any]:
    try:
        return read_weights(str(file))
    except PermissionError:
        raise
    except OSError as error:
        raise OSError(f"{error}: {cure}") from error


def register_weights_loader() -> None:
    """Let MMEngine load ``open-mmlab://``, ``http://`` and ``https://`` by this module."""
    CheckpointLoader.register_scheme(
        prefixes=("open-mmlab://", "openmmlab://", "http://", "https://"),
        loader=load_weights,
        force=True,
    )
