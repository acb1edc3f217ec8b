"""The authors' checkpoints -> ours, one file a paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..models.layers.complete_loading import without_wrapper
from . import cpnet, deeplab, denseaspp, dsrl, hanet, hrnet, refinenet, spnet
from .tensorflow import read_tensorflow_checkpoint

#: paper -> its converter
CONVERTERS: dict[str, Callable[..., dict[str, Tensor]]] = {
    "cpnet": cpnet.convert,
    "deeplab": deeplab.convert,
    "denseaspp": denseaspp.convert,
    "dsrl": dsrl.convert,
    "hanet": hanet.convert,
    "hrnet": hrnet.convert,
    "refinenet": refinenet.convert,
    "spnet": spnet.convert,
}
#: paper -> licence of its authors' files; a test compares these with the metafiles'
LICENSES = {
    "cpnet": "none given",
    "deeplab": "Apache-2.0",
    "denseaspp": "none given",
    "dsrl": "Apache-2.0",
    "hanet": "CC BY-NC 4.0",
    "hrnet": "MIT",
    "refinenet": "BSD-2-Clause; its read-me allows academic use only",
    "spnet": "MIT; its read-me allows non-commercial use only",
}
#: The entries under which the authors' files may hold their weights.
WRAPPINGS = ("state_dict", "model_state", "model", "segmenter", "weights")


def weights_of(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights in what a file of the authors holds.

    Args:
        content (Mapping[str, Any]): The weights, or a dict with an entry of :data:`WRAPPINGS`.

    Returns:
        Mapping[str, Any]: Names and values.
    """
    for name in WRAPPINGS:
        if isinstance(content.get(name), Mapping):
            return content[name]
    return content


def convert_state_dict(
    paper: str, state_dict: Mapping[str, Tensor | np.ndarray], **options
) -> dict[str, Tensor]:
    """Rename and rewrite the weights of the authors' code for this package's modules.

    Args:
        paper (str): A key of :data:`CONVERTERS`.
        state_dict (Mapping[str, Tensor | np.ndarray]): The authors' keys and values, with or
            without ``module.`` before every key. Those of a whole model become those of our
            segmentor; those of a component our component's. A whole file with an entry of
            :data:`WRAPPINGS` will do.
        **options: What the paper's converter takes; see its file.

    Returns:
        dict[str, Tensor]: Weights that load strictly.

    Raises:
        ValueError: If the paper is unknown, or keys are there with and without ``module.``.
        TypeError: If a value is no tensor or array.
        KeyError: If a key is neither used nor known to be superfluous; names them.
    """
    if paper not in CONVERTERS:
        raise ValueError(f"paper must be one of {', '.join(CONVERTERS)}, got {paper!r}")
    state_dict = weights_of(state_dict)
    for key, value in state_dict.items():
        if not isinstance(value, (Tensor, np.ndarray, np.generic)):
            raise TypeError(
                f"{key} is a {type(value).__name__}, not a tensor; hand in the weights themselves, "
                "such as file['state_dict']"
            )
    tensors = {key: torch.as_tensor(value) for key, value in without_wrapper(state_dict).items()}
    return CONVERTERS[paper](tensors, **options)


__all__ = [
    "CONVERTERS",
    "LICENSES",
    "WRAPPINGS",
    "convert_state_dict",
    "read_tensorflow_checkpoint",
    "weights_of",
]
