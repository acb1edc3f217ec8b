"""What the package holds: papers, their configs, numbers and weights; models by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

from ..checkpoints.fetching import fetch
from ..checkpoints.files import read_checkpoint
from ..models.layers.complete_loading import load_whole
from ..models.option_errors import naming_options
from .configs import MIM, packaged_config, require_parts, resolved_config
from .predictor import dataset_meta, names_and_colors, trained_meta


@dataclass(frozen=True)
class Paper:
    """A paper, or one of two that share a folder of configs."""

    name: str
    title: str
    url: str
    code_url: str
    #: Commit or branch of the authors' code.
    code_version: str
    #: Of the authors' code and files. Ours is Apache-2.0.
    license: str


@dataclass(frozen=True, eq=False)
class Entry:
    """A config and what is known about its model."""

    name: str
    config: Path
    paper: Paper
    architecture: tuple[str, ...]
    training_data: str
    #: Millions, with the heads that only train.
    parameters: float
    #: Billions at ``input_size``, by :func:`mmseg_papers.apis.multiply_adds` of plain formulas.
    multiply_adds: float
    #: Height and width of the image that ``multiply_adds`` is for.
    input_size: tuple[int, int]
    #: As in the metafile: ``Dataset``, ``Metrics`` and ``Source``, which says of whose weights.
    results: tuple[dict[str, Any], ...]
    #: Counts that others print: ``Quantity``, ``Value``, ``Source`` and why it differs from ours.
    published: tuple[dict[str, Any], ...]
    #: Where the weights are hosted; None where they are not.
    weights: str | None
    #: Digits that the SHA-256 of the weights begins with; None where no weights are hosted.
    sha256: str | None
    #: Of the weights.
    license: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their indices."""
        return names_and_colors(dataset_meta(self._dataset))[0]

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What happens to an image before the network sees it.

        Returns:
            dict: ``channels`` (``'RGB'`` or ``'BGR'``), their ``mean`` and ``std`` on 0 to 255, and
            the steps of the test ``pipeline``.
        """
        normalize = Config.fromfile(self.config).model.data_preprocessor
        return {
            "channels": "RGB" if normalize.get("bgr_to_rgb") else "BGR",
            "mean": tuple(normalize.mean),
            "std": tuple(normalize.std),
            "pipeline": [
                step.to_dict()
                for step in self._dataset.pipeline
                if step["type"] not in ("LoadAnnotations", "PackSegInputs")
            ],
        }

    @property
    def _dataset(self) -> ConfigDict:
        return Config.fromfile(self.config).test_dataloader.dataset


def papers() -> list[Paper]:
    """The papers of the package.

    Returns:
        list[Paper]: In the order of ``model-index.yml``.
    """
    return list(dict.fromkeys(e.paper for e in entries()))


def entries(pattern: str = "*") -> list[Entry]:
    """The configs of the package, with their numbers.

    Args:
        pattern (str): Of names of configs or papers, as for files (``'ocrnet*ade20k*'``); a word
            without ``*``, ``?`` or ``[`` may stand anywhere. Case does not matter. Default: all.

    Returns:
        list[Entry]: By paper, as the metafiles have them.
    """
    pattern = pattern.lower()
    if not any(wildcard in pattern for wildcard in "*?["):
        pattern = f"*{pattern}*"
    return [
        e for e in _entries() if fnmatch(e.name, pattern) or fnmatch(e.paper.name.lower(), pattern)
    ]


def entry(name: str) -> Entry:
    """One config of the package, with its numbers.

    Args:
        name (str): Its name, with or without ``.py`` and folder.

    Returns:
        Entry: What is known about it.

    Raises:
        ValueError: If there is no such config; names the nearest ones.
    """
    name = packaged_config(name).stem
    return next(e for e in _entries() if e.name == name)


def download(name: str, folder: str | Path = ".") -> Path:
    """Download the weights of a config, whole or not at all.

    Args:
        name (str): The config's name.
        folder (str | Path): Made if it does not exist. Default: the current one.

    Returns:
        Path: The file, named as at its source.

    Raises:
        ValueError: If there is no such config or its weights are not hosted.
        OSError: If the file does not arrive, has another SHA-256 or cannot be written.
    """
    found = entry(name)
    if found.weights is None:
        raise ValueError(
            f"no weights of {found.name} are hosted. The authors may publish theirs with their "
            f"code, {found.paper.code_url} (licence: {found.paper.license}); the paper's card, "
            f"{found.config.parent.name}/README.md among the configs, says how to use them"
        )
    return fetch(found.weights, Path(folder) / Path(found.weights).name, found.sha256)


def build_model(
    config: str | Path | Config, checkpoint: str | Path | None = None, *, pretrained: bool = False
) -> nn.Module:
    """Build the model of a config, without a runner.

    Synchronised batch norms become ordinary ones, since there is one process. The model knows its
    config (``cfg``) and the classes (``dataset_meta``) of the checkpoint, or else of the config's
    test data if it has any; ``mmseg.apis.inference_model`` reads both.

    Args:
        config (str | Path | Config): A config of MMSegmentation, or a packaged config's name.
        checkpoint (str | Path, optional): The model's weights: a file, a URL or, of the authors,
            ``papers://<paper>/<path or URL>``. Parts that only train may lack and are then random.
            Default: all is random.
        pretrained (bool): Start from the ImageNet weights that the config names, which MMEngine
            downloads; without effect beside ``checkpoint``. Default: False.

    Returns:
        nn.Module: On the CPU, in training mode.

    Raises:
        OSError: If ``checkpoint`` is missing or damaged.
        ValueError: If there is no such config; names the nearest ones. If the config or the
            checkpoint cannot be used, or the checkpoint does not fit, or has a weight that is NaN
            or infinite.
        ImportError: If the model or ``checkpoint`` needs a library that is not installed.

    Example:
        >>> model = build_model("hrnetv2_w18_4xb3-120k_cityscapes-512x1024").eval()
        >>> model(torch.rand(1, 3, 512, 1024)).shape
        torch.Size([1, 19, 128, 256])
    """
    config = resolved_config(config)
    require_parts(config, "model")
    init_default_scope(config.get("default_scope", "mmseg"))
    if checkpoint is not None or not pretrained:
        config.model = without_pretrained(config.model)
    with naming_options(config._cfg_dict, ""):
        model = revert_sync_batchnorm(MODELS.build(config.model))
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("WARNING")  # below, MMEngine writes a line about each parameter
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)
    loaded = {}
    if checkpoint is not None:
        loaded = read_checkpoint(str(checkpoint))
        load_whole(model, loaded.get("state_dict", loaded), str(checkpoint))
    meta = trained_meta(loaded, config)
    if meta is not None:
        classes, palette = names_and_colors(meta)
        model.dataset_meta = dict(classes=classes, palette=palette)
    model.cfg = config
    return model


def without_pretrained(part: Any) -> Any:
    """A config, or a part of one, without the weights it would download.

    Args:
        part (Any): ``config.model``, or any member of it.

    Returns:
        Any: A copy in which no ``init_cfg`` has a type such as ``Pretrained``, and without
        ``pretrained``, mmseg's older name for it.
    """
    if isinstance(part, (list, tuple)):
        return type(part)(without_pretrained(member) for member in part)
    if not isinstance(part, dict):
        return part
    kept = {key: without_pretrained(value) for key, value in part.items()}
    if init_cfg := kept.get("init_cfg"):
        cfgs = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
        others = [cfg for cfg in cfgs if "Pretrained" not in str(cfg.get("type"))]
        if len(others) < len(cfgs):
            kept["init_cfg"] = others or None
    kept.pop("pretrained", None)
    return ConfigDict(kept)


@cache
def _entries() -> tuple[Entry, ...]:
    found = []
    for file in yaml.safe_load((MIM / "model-index.yml").read_text())["Import"]:
        metafile = yaml.safe_load((MIM / file).read_text(encoding="utf-8"))
        of_folder = {
            collection["Name"]: Paper(
                name=collection["Name"],
                title=collection["Paper"]["Title"],
                url=collection["Paper"]["URL"],
                code_url=collection["Code"]["URL"],
                code_version=str(collection["Code"]["Version"]),
                license=collection["Code"]["License"],
            )
            for collection in metafile["Collections"]
        }
        for model in metafile["Models"]:
            paper, metadata = of_folder[model["In Collection"]], model["Metadata"]
            height, width = metadata["Input Size"].split("x")
            weights = model.get("Weights")
            in_name = re.search(r"-([\da-f]{8,64})\.\w+$", weights or "")
            found.append(
                Entry(
                    name=model["Name"],
                    config=MIM / model["Config"],
                    paper=paper,
                    architecture=tuple(metadata["Architecture"]),
                    training_data=metadata["Training Data"],
                    parameters=metadata["Parameters (M)"],
                    multiply_adds=metadata["Multiply-adds (G)"],
                    input_size=(int(height), int(width)),
                    results=tuple(model.get("Results", ())),
                    published=tuple(model.get("Published", ())),
                    weights=weights,
                    sha256=model.get("SHA256", in_name and in_name[1]),
                    license=model.get("License", paper.license),
                )
            )
    return tuple(found)
