"""Label maps of a data set, as its classes count them."""

from __future__ import annotations

import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.registry import TRANSFORMS


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
