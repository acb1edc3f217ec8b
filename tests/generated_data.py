"""Small data in the layout of any config's data sets, and configs shrunk to it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict
from mmseg.registry import DATASETS
from PIL import Image

CROP = (64, 96)
IMAGE = (96, 128)


def data_sets(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """The data sets on disk inside wrappers such as ``ConcatDataset``."""
    if "data_prefix" in dataset:
        yield dataset
    wrapped = ("dataset", "datasets", "extra_dataset")
    for inner in [dataset[key] for key in wrapped if key in dataset]:
        for member in inner if isinstance(inner, list) else [inner]:
            yield from data_sets(member)


def generate(dataset: ConfigDict, root: Path, images: int) -> None:
    """Write noise images and label maps in blocks where a data set of a config looks for them."""
    cls = DATASETS.get(dataset.type)
    defaults = inspect.signature(cls.__init__).parameters
    option = {
        name: dataset.get(name, defaults[name].default if name in defaults else None)
        for name in ("img_suffix", "seg_map_suffix", "reduce_zero_label", "ann_file")
    }
    classes = len(dataset.get("classes") or cls.METAINFO["classes"])
    rng = np.random.default_rng(0)
    dataset.data_root = str(root)
    names = [f"{i:04d}" for i in range(images)]
    for name in names:
        image = rng.integers(0, 256, (*IMAGE, 3), dtype=np.uint8)
        coarse = rng.integers(0, classes, (IMAGE[0] // 8, IMAGE[1] // 8), dtype=np.uint8)
        label = coarse.repeat(8, axis=0).repeat(8, axis=1)
        if option["reduce_zero_label"]:
            label += 1
            label[:4] = 0
        else:
            label[:4] = 255
        for array, kind, suffix in (
            (image, "img_path", option["img_suffix"] or ".png"),
            (label, "seg_map_path", option["seg_map_suffix"] or ".png"),
        ):
            file = root / dataset.data_prefix[kind] / f"{name}{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(file)
    if option["ann_file"]:
        listing = root / option["ann_file"]
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("".join(f"{name}\n" for name in names))


def shrink(config: Config, root: Path, **options) -> Config:
    """Make a config two iterations on generated data; the model keeps its widths and depths.

    Args:
        config (Config): Changed in place.
        root (Path): Where the data and the work directory go.
        **options: Merged into the config afterwards, as ``--cfg-options`` does.

    Returns:
        Config: The config.
    """
    for split, images in (("train", 4), ("val", 2), ("test", 2)):
        loader = config[f"{split}_dataloader"]
        loader.update(num_workers=0, persistent_workers=False)
        if "tile_size" in loader.dataset or "centroids_file" in loader.dataset:
            loader.dataset.update(tile_size=32, centroids_file=None)
        for i, dataset in enumerate(data_sets(loader.dataset)):
            generate(dataset, root / f"{split}{i}", images)
            shrink_pipeline(dataset.get("pipeline", []))
    config.train_dataloader.update(batch_size=2)
    config.model.data_preprocessor.update(size=CROP)
    if config.model.test_cfg.get("mode") == "slide":
        config.model.test_cfg.update(crop_size=CROP, stride=(CROP[0] * 2 // 3, CROP[1] * 2 // 3))
        if config.model.data_preprocessor.get("test_cfg"):  # pads to a window
            config.model.data_preprocessor.test_cfg.update(size=CROP)
    config.train_cfg.update(max_iters=2, val_interval=2)
    # Checkpoints of full-size models would be written for nothing.
    config.default_hooks.update(checkpoint=None, logger=dict(type="LoggerHook", interval=1))
    config.update(work_dir=str(root / "work"), experiment_name=str(root), randomness=dict(seed=0))
    config.env_cfg.update(cudnn_benchmark=False)
    config.merge_from_dict(options)
    return config


def shrink_pipeline(pipeline: list[ConfigDict]) -> None:
    """Scales and crops for the generated images."""
    for step in pipeline:
        if "scale" in step:
            step.scale = IMAGE[::-1]
        if "scales" in step:
            step.scales = [IMAGE[::-1]]
        if "crop_size" in step:
            step.crop_size = CROP
        if step.type == "Pad" and "size" in step:
            step.size = CROP
