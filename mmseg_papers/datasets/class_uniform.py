"""Sampling that shows every class about equally often (HANet's training)."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import Sampler

from .label_maps import load_label_map

#: Label maps of a data set whose content tells whether kept centroids are theirs.
READ_FILES = 50


def class_centroids(
    label: np.ndarray, num_classes: int, tile_size: int
) -> list[tuple[int, int, int]]:
    """Centres of mass of every class in every whole tile of a label map.

    Args:
        label (np.ndarray): Class indices, (H, W); indices from ``num_classes`` on are ignored.
        num_classes (int): K.
        tile_size (int): Side of the square tiles; a rest at the right or bottom is left out.

    Returns:
        list[tuple[int, int, int]]: (class, x, y), by class, then by tile in reading order.
    """
    centroids = []
    side = np.arange(tile_size)
    height, width = label.shape
    for top in range(0, height - tile_size + 1, tile_size):
        for left in range(0, width - tile_size + 1, tile_size):
            tile = label[top : top + tile_size, left : left + tile_size].astype(np.int64)
            tile = np.minimum(tile, num_classes)
            # Pixels of each class in each row, and in each column.
            in_rows, in_columns = (
                np.bincount(
                    (index * (num_classes + 1) + tile).ravel(),
                    minlength=tile_size * (num_classes + 1),
                ).reshape(tile_size, -1)
                for index in (side[:, None], side)
            )
            counts = in_rows.sum(0)
            for c in np.flatnonzero(counts[:num_classes]):
                x = int(side @ in_columns[:, c] / counts[c]) + left
                y = int(side @ in_rows[:, c] / counts[c]) + top
                centroids.append((int(c), x, y))
    return sorted(centroids, key=lambda centroid: centroid[0])


@DATASETS.register_module()
class ClassUniformDataset:
    """Data sets whose images can also be asked for around the centre of a class in them.

    Index i below ``len`` is an image as always. Index ``len + k`` is an image with the centroid
    ``k`` of :attr:`centroids` in its results, ``crop_centroid`` (x, y), around which
    :class:`CentroidCrop` crops; :class:`ClassUniformSampler` draws such indices.

    Finding the centroids reads every label map once, about 5 minutes for Cityscapes, if no
    ``centroids_file`` holds them.

    Args:
        datasets (list[dict | BaseSegDataset]): Of one set of classes.
        tile_size (int): Images are searched in whole square tiles of this side. Default: 1024.
        extra_dataset (dict | BaseSegDataset, optional): More images, which are shown for their
            centroids of ``extra_classes`` only (the authors' coarse Cityscapes labels).
        extra_classes (Sequence[int]): Class indices. Default: none.
        centroids_file (str, optional): JSON file that keeps the centroids; written if missing.

    Raises:
        ValueError: If no image holds a whole tile, the file is of other classes, options or label
            maps, or of ``extra_dataset`` and ``extra_classes`` one is given alone.
    """

    def __init__(
        self,
        datasets: list[dict | BaseSegDataset],
        tile_size: int = 1024,
        extra_dataset: dict | BaseSegDataset | None = None,
        extra_classes: Sequence[int] = (),
        centroids_file: str | None = None,
    ) -> None:
        if (extra_dataset is None) != (len(extra_classes) == 0):
            raise ValueError(
                "give extra_dataset and extra_classes, or neither, got "
                f"extra_classes={tuple(extra_classes)} and "
                f"{'no' if extra_dataset is None else 'an'} extra_dataset"
            )
        members = [*datasets] if extra_dataset is None else [*datasets, extra_dataset]
        self.members = [DATASETS.build(d) if isinstance(d, dict) else d for d in members]
        self.starts = np.cumsum([0, *(len(member) for member in self.members)])
        self.length = int(self.starts[len(datasets)])
        self.tile_size = tile_size
        self.extra_classes = tuple(extra_classes)
        self.centroids_file = centroids_file
        #: (image, class, x, y), sorted by class.
        self.centroids = self._load_centroids()

    @property
    def metainfo(self) -> dict:
        """That of the first data set."""
        return self.members[0].metainfo

    def _describe(self) -> dict:
        """What the centroids follow from."""
        return dict(
            images=[len(member) for member in self.members],
            tile_size=self.tile_size,
            extra_classes=list(self.extra_classes),
            classes=list(self.metainfo["classes"]),
            label_maps=[describe_label_maps(member) for member in self.members],
        )

    def _load_centroids(self) -> np.ndarray:
        file = None if self.centroids_file is None else Path(self.centroids_file)
        described = {} if file is None else self._describe()
        if file is not None and file.exists():
            content = json.loads(file.read_text())
            found = content.pop("centroids")
            if content != described:
                other = {k: v for k, v in described.items() if content.get(k) != v}
                kept = {k: content.get(k) for k in other}
                raise ValueError(f"{file} is of {kept}, not of {other}; remove it")
            return np.array(found)
        images = sum(len(member) for member in self.members)
        print_log(f"Looking for classes in {images} label maps ...", "current")
        found = [
            (int(start) + i, c, x, y)
            for start, member in zip(self.starts, self.members, strict=False)
            for i in range(len(member))
            for c, x, y in class_centroids(
                load_label_map(member, i), len(self.metainfo["classes"]), self.tile_size
            )
            if start < self.length or c in self.extra_classes
        ]
        if not found:
            raise ValueError(
                f"no label map holds a whole tile of {self.tile_size} x {self.tile_size} pixels; "
                "reduce tile_size"
            )
        found.sort(key=lambda item: item[1])
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f"{file.name}.{os.getpid()}")
            partial.write_text(json.dumps(dict(described, centroids=found)))
            os.replace(partial, file)
        return np.array(found)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        if index < self.length:
            image, centroid = index, {}
        else:
            image, _, x, y = self.centroids[index - self.length].tolist()
            centroid = dict(crop_centroid=(x, y))
        member = int(np.searchsorted(self.starts, image, side="right")) - 1
        dataset = self.members[member]
        return dataset.pipeline(
            {**dataset.get_data_info(image - int(self.starts[member])), **centroid}
        )


def describe_label_maps(dataset: BaseSegDataset) -> dict:
    """What tells the label maps of a data set from others, and how they are read.

    Wherever they lie and whenever they were copied, it is the same.

    Args:
        dataset (BaseSegDataset): Any of ``mmseg``'s data sets.

    Returns:
        dict: For JSON; ``digest`` is of names and sizes, and of the content of
        :data:`READ_FILES` of the files, evenly spread.
    """
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    options = ("reduce_zero_label", "label_map", "label_colors")
    described = {key: str(infos[0].get(key)) for key in options} if infos else {}
    paths = [info["seg_map_path"] for info in infos]
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    is_read = set(np.linspace(0, len(paths) - 1, READ_FILES).astype(int).tolist())
    digest = hashlib.sha256()
    for i, path in enumerate(paths):
        digest.update(os.fsencode(os.path.relpath(path, folder)))
        if os.path.isfile(path):
            digest.update(str(os.path.getsize(path)).encode())
            if i in is_read:
                digest.update(Path(path).read_bytes())
    return dict(described, digest=digest.hexdigest()[:16])


def crops_of_class(length: int, num_classes: int, fraction: float) -> int:
    """How often an epoch of :func:`draw_epoch` shows each class on purpose.

    Args:
        length (int): Number of images.
        num_classes (int): Number of classes.
        fraction (float): Share of the epoch that is drawn by class.

    Returns:
        int: Crops of each class.
    """
    return int(fraction * length / num_classes)


def draw_epoch(
    length: int, classes: np.ndarray, num_classes: int, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """One epoch of class-uniform sampling (the authors' ``datasets/uniform.py``).

    Each class gets int(fraction * length / num_classes) of its centroids, without replacement
    until they are used up, then again; a class without centroids gets none, and the epoch is that
    much shorter. The rest are images in random order, again from the first if they do not suffice.

    Args:
        length (int): Number of images.
        classes (np.ndarray): Class of every centroid, (K,), sorted.
        num_classes (int): Number of classes.
        fraction (float): Share of the epoch that is drawn by class.
        rng (np.random.Generator): Of the draws.

    Returns:
        np.ndarray: Indices of a :class:`ClassUniformDataset`, in random order.
    """
    of_class = crops_of_class(length, num_classes, fraction)
    starts = np.searchsorted(classes, np.arange(num_classes + 1))
    drawn = [np.resize(rng.permutation(length), length - num_classes * of_class)]
    for start, stop in pairwise(starts):
        if stop > start:
            rounds = -(-of_class // (stop - start))
            order = [rng.permutation(np.arange(start, stop)) for _ in range(rounds)]
            drawn += [length + part for part in order]
            surplus = rounds * (stop - start) - of_class
            drawn[-1] = drawn[-1][: len(drawn[-1]) - surplus]
    return rng.permutation(np.concatenate(drawn))


@DATA_SAMPLERS.register_module()
class ClassUniformSampler(Sampler):
    """Endless epochs of :func:`draw_epoch` over a :class:`ClassUniformDataset`.

    If the images are too few for a crop of each class in an epoch, it warns.

    Args:
        dataset (ClassUniformDataset): What is sampled.
        fraction (float): Share of an epoch that is drawn by class. Default: 0.5.
        seed (int, optional): Of the draws. Default: one that all processes agree on.

    Raises:
        TypeError: If ``dataset`` is another one.
        ValueError: If ``fraction`` is not in [0, 1].
    """

    def __init__(
        self, dataset: ClassUniformDataset, fraction: float = 0.5, seed: int | None = None
    ) -> None:
        if not isinstance(dataset, ClassUniformDataset):
            raise TypeError(
                f"ClassUniformSampler samples a ClassUniformDataset, got {type(dataset).__name__}"
            )
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction must be in [0, 1], got {fraction}")
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.fraction = fraction
        self.seed = sync_random_seed() if seed is None else seed
        length, num_classes = len(dataset), len(dataset.metainfo["classes"])
        if fraction > 0 and crops_of_class(length, num_classes, fraction) == 0:
            print_log(
                f"ClassUniformSampler draws images alone, no crops around classes: {fraction} of "
                f"{length} images are fewer than {num_classes} classes. Give "
                "ClassUniformDataset.datasets the same data set "
                f"{math.ceil(num_classes / (fraction * length))} times",
                "current",
                logging.WARNING,
            )

    def _epochs(self) -> Iterator[int]:
        rng = np.random.default_rng(self.seed)
        while True:
            yield from draw_epoch(
                len(self.dataset),
                self.dataset.centroids[:, 1],
                len(self.dataset.metainfo["classes"]),
                self.fraction,
                rng,
            ).tolist()

    def __iter__(self) -> Iterator[int]:
        yield from islice(self._epochs(), self.rank, None, self.world_size)

    def __len__(self) -> int:
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Not used: the epochs follow each other without end."""
