"""The authors' files where MMEngine expects a checkpoint: ``papers://<paper>/<path or URL>``."""

from __future__ import annotations

import inspect
import io
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import torch
import yaml
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from ..models.layers.complete_loading import SOURCE
from ..models.option_errors import near_names
from . import CONVERTERS, LICENSES, convert_state_dict, weights_of
from .files import read_weights

PREFIX = "papers://"
COLUMNS = ("tensors", "renamed", "numbers")
VALUE = r"[^#&=]+=[^#&=]+"
ADDRESS = re.compile(
    rf"{PREFIX}(?P<paper>[^/#]+)/(?P<source>[^#]+)(#(?P<options>{VALUE}(&{VALUE})*))?"
)


def load_from_authors(address: str, map_location: str | torch.device | None = None) -> dict:
    """Load a file of a paper's authors, converted, and log what is in it and its licence.

    MMEngine calls this for ``papers://``, in ``load_from``, in ``init_cfg`` and on the command
    line. A segmentor of this package takes what comes from here whole or not at all; see
    :func:`mmseg_papers.models.layers.complete_loading.check_whole`.

    Args:
        address (str): ``papers://<paper>/<path or URL>``, such as
            ``papers://hrnet/weights/hrnet_cs_8090_torch11.pth``, where the paper is a key of
            :data:`mmseg_papers.checkpoints.CONVERTERS`; an absolute path makes two slashes. Then
            perhaps ``#name=value&name=value``: options of the paper's converter, and ``sha256``,
            the digits that the file's begins with.
        map_location (str | torch.device, optional): Where to put the weights. Default: the CPU.

    Returns:
        dict: ``state_dict``, under the names of our modules.

    Raises:
        ValueError: If the address, the paper or an option is wrong, or the file is of another paper
            or needs more than tensors.
        OSError: If the file is missing or damaged, cannot be downloaded or has another SHA-256.
        ImportError: If the file needs a library that is not installed.
    """
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(
            f"{address!r} is not of the form {PREFIX}<paper>/<path or URL>, perhaps with "
            "#name=value&name=value after it"
        )
    paper, source = found["paper"], found["source"]
    if paper not in CONVERTERS:
        raise ValueError(
            f"no paper {paper!r}; there are {', '.join(CONVERTERS)}{near_names(paper, CONVERTERS)}"
        )
    texts = dict(parse_qsl(found["options"] or ""))
    sha256 = texts.pop("sha256", None)
    options = _converter_options(paper, texts)
    originals = weights_of(read_weights(source, sha256))
    try:
        weights = convert_state_dict(paper, originals, **options)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{source} does not fit {paper}: {error.args[0]}") from error
    if not weights:
        raise ValueError(f"{source} holds no weights of {paper}")
    print_log(
        f"{source}, converted from {paper}:\n{weights_table(weights, originals)}"
        "Licence of the authors' files and of what is made of them (ports have their own): "
        f"{LICENSES[paper]}",
        "current",
    )
    state_dict = OrderedDict((k, v.to(map_location or "cpu")) for k, v in weights.items())
    # MMEngine hands this on to the module that loads.
    state_dict._metadata = OrderedDict({"": {SOURCE: address}})
    return dict(state_dict=state_dict)


def _converter_options(paper: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Values of a converter's options from their text."""
    parameters = inspect.signature(CONVERTERS[paper]).parameters
    annotations = {name: p.annotation for name, p in list(parameters.items())[1:]}
    options = {}
    for name, text in texts.items():
        if name not in annotations:
            raise ValueError(
                f"{paper} has no option {name!r}; it has {', '.join([*annotations, 'sha256'])}"
            )
        options[name] = yaml.safe_load(text)
        if isinstance(options[name], str) != annotations[name].startswith("str"):
            raise ValueError(f"{name} must be of type {annotations[name]}, got {text!r}")
    return options


def weights_table(
    weights: Mapping[str, Tensor], originals: Mapping[str, Tensor | np.ndarray]
) -> str:
    """What a conversion made of a file, as text.

    Args:
        weights (Mapping[str, Tensor]): Under the names of our modules.
        originals (Mapping[str, Tensor | np.ndarray]): Under the authors' names.

    Returns:
        str: A line for each part of the model with its tensors, how many of them have another name
        than in the file, and their numbers; one for all, and one for the file.
    """
    parts: dict[str, list[str]] = {}
    for name in weights:
        parts.setdefault(".".join(name.split(".")[:2]), []).append(name)
    columns = (Column(name, justify="right") for name in COLUMNS)
    table = Table("part", *columns, caption="A bias before a batch norm goes into the norm.")
    for part, names in [*parts.items(), ("all", list(weights))]:
        renamed = sum(name not in originals for name in names)
        numbers = sum(weights[name].numel() for name in names)
        table.add_row(part, str(len(names)), str(renamed), f"{numbers:,}")
    numbers = sum(int(np.prod(value.shape)) for value in originals.values())
    table.add_row("in the file", str(len(originals)), "", f"{numbers:,}")
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    return console.file.getvalue()


def register_papers_loader() -> None:
    """Let MMEngine load ``papers://`` by this module."""
    CheckpointLoader.register_scheme(prefixes=PREFIX, loader=load_from_authors, force=True)
