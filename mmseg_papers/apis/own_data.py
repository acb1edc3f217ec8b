"""Configs turned to data of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..datasets.folder import FolderDataset, class_names
from ..models.option_errors import naming_options, typed_parts
from .configs import CONFIGS, require_parts, resolved_config, transform_name
from .crop_size import with_crop_size

#: Backbones of mmseg's -> pixels of which images must be multiples.
SIZE_DIVISORS = {"DDRNet": 8, "PIDNet": 8, "UNet": 16}
#: Training steps that some models' losses need -> the step of ``own.py`` that each stands before.
MODEL_STEPS = {"AddRowPosition": "RandomCrop", "GenerateEdge": "PackSegInputs"}


def on_own_data(
    config: str | Path | Config,
    data_root: str | Path,
    classes: Sequence[str],
    data_options: dict | None = None,
) -> Config:
    """Turn a config to data of one's own, in the layout of ``configs/_base_/datasets/own.py``.

    Data sets, pipelines and evaluators become those of that file, with scales in proportion to the
    crop's short side; crop size, batch size, model and schedule stay, and so do training steps that
    the model's loss needs. Class weights of the old classes are dropped. A config of
    MMSegmentation's own gets the import of this package.

    Args:
        config (str | Path | Config): Any config of MMSegmentation, or a packaged config's name.
        data_root (str | Path): Folder with ``images`` and ``annotations``.
        classes (Sequence[str]): Names of the classes, in the order of their indices.
        data_options (dict, optional): More options of the data sets, such as ``label_colors``; see
            :class:`mmseg_papers.datasets.FolderDataset`.

    Returns:
        Config: The config; one that was given is not changed.

    Raises:
        TypeError: If ``classes`` is a single string.
        ValueError: If the config cannot be read or trains nothing, there is one class only, a head
            has no ``num_classes``, or the data set refuses an option.
    """
    classes = class_names(classes)
    config = resolved_config(config)
    require_parts(config, "model", "train_dataloader", "val_dataloader", "test_dataloader")
    init_default_scope(config.get("default_scope", "mmseg"))  # or transforms are mmcv's
    own = Config.fromfile(CONFIGS / "_base_" / "datasets" / "own.py")
    own = with_crop_size(own, config.get("crop_size", own.crop_size))
    preprocessor = config.model.get("data_preprocessor")
    divisor = SIZE_DIVISORS.get(config.model.get("backbone", {}).get("type"))
    if divisor is not None and preprocessor is not None:
        preprocessor.setdefault("test_cfg", dict(size_divisor=divisor))
    # DeepLab pads whole images to the size of its data set's.
    padding = config.model.get("data_preprocessor", {}).get("test_cfg") or {}
    if "size" in padding:
        padding["size"] = own.crop_size

    def adapt(part: Any) -> None:
        members = part.values() if isinstance(part, dict) else part
        for member in members if isinstance(part, (dict, list, tuple)) else ():
            adapt(member)
        if not isinstance(part, dict):
            return
        for option, value in (
            ("data_root", str(data_root)),
            ("classes", classes),
            ("num_classes", len(classes)),
        ):
            if option in part:
                part[option] = value

    adapt(own._cfg_dict)
    steps = {transform_name(step): step for _, step in typed_parts(config.train_dataloader)}
    for pipeline in (own.train_pipeline, own.train_dataloader.dataset.pipeline):
        for name, following in MODEL_STEPS.items():
            if name in steps:
                pipeline.insert([step.type for step in pipeline].index(following), steps[name])
        packs = [steps[name] for name in steps if name.startswith("Pack")]
        pipeline[-1:] = packs[:1] or pipeline[-1:]
    for key, value in own.items():
        if key.endswith("_dataloader"):
            batch_size = config[key].get("batch_size", value.batch_size)
            dataset = dict(value.dataset, **(data_options or {}))
            with naming_options(dataset, "--data-options"):
                FolderDataset(**{k: v for k, v in dataset.items() if k != "type"}, lazy_init=True)
            value = dict(value, batch_size=batch_size, dataset=dataset)
        config[key] = value
    imports = config.setdefault("custom_imports", {}).get("imports")
    config.custom_imports.imports = list(dict.fromkeys([*_listed(imports), "mmseg_papers"]))
    for name in ("dataset_type", "class_weight", "swap_labels", "test_size"):  # of the old data
        config.pop(name, None)
    config.get("tta_model", {}).pop("swap_labels", None)  # left and right of LIP
    if len(classes) < 2:
        raise ValueError(
            "a model of a single class learns nothing; name what is not "
            f"{' '.join(classes)} as a class, too: --classes background {' '.join(classes)}"
        )
    heads = [
        (name, head)
        for name in ("decode_head", "auxiliary_head")
        for head in _listed(config.model.get(name))
    ]
    for name, head in heads:
        if "num_classes" not in head:
            raise ValueError(
                f"{name} {head.get('type')} of {config.filename} has no num_classes of its "
                "own; set the classes of its parts and the data sets in a config of yours"
            )
    old_classes = max(head.num_classes for _, head in heads)
    for _, head in heads:
        if head.num_classes != old_classes:  # STDC's boundary head has two, whatever the data
            continue
        head.num_classes = len(classes)
        for _, part in typed_parts(head):
            weights = part.pop("class_weight", None)
            if isinstance(weights, (list, tuple)) and len(weights) == old_classes + 1:
                part["class_weight"] = [1.0] * len(classes) + [weights[-1]]  # of "no object"
    return config


def _listed(part: Any) -> list:
    """An option that may be one, several or none, as a list."""
    return list(part) if isinstance(part, (list, tuple)) else [part] if part else []
