"""Label maps of a data set, as its classes count them."""

from __future__ import annotations

import numpy as np
from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, TRANSFORMS


def load_label_map(dataset: BaseSegDataset, index: int) -> np.ndarray:
    """One label map, after ``label_map`` and ``reduce_zero_label``, before any augmentation.

    Args:
        dataset (BaseSegDataset): Any of ``mmseg``'s data sets.
        index (int): Of the image.

    Returns:
        np.ndarray: Class indices, (H, W); ``dataset.ignore_index`` where there is no class.
    """
    load = TRANSFORMS.build(dict(type="LoadAnnotations"))
    results = dataset.get_data_info(index)
    load._load_seg_map(results)
    return results["gt_seg_map"]


def source_datasets(config: ConfigDict) -> list[BaseDataset]:
    """Build the data sets of a config without the wrappers around them, each once.

    Args:
        config (ConfigDict): Of a data set, or of a ``ConcatDataset``, ``RepeatDataset`` or
            ``ClassUniformDataset``, also of one inside another. The last one is not built, since it
            stops at the first faulty label map.

    Returns:
        list[BaseDataset]: In the order of the config.
    """
    if config.get("type") == "ClassUniformDataset":
        extra = config.get("extra_dataset")
        members = [*config["datasets"], *([] if extra is None else [extra])]
        return [dataset for member in members for dataset in source_datasets(member)]
    return _unwrapped(DATASETS.build(config))


def _unwrapped(dataset: object) -> list[BaseDataset]:
    if isinstance(dataset, BaseDataset):
        return [dataset]
    members = dataset.datasets if hasattr(dataset, "datasets") else [dataset.dataset]
    return [inner for member in members for inner in _unwrapped(member)]
