"""What a data set holds, and which setting to change where it would train to nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from .transforms.loading import IGNORE_INDEX, UNREADABLE, StrictLoadImageFromFile, reason

#: Values of a label map that are worth listing one by one; a photograph has more.
MOST_VALUES = 64


@dataclass
class LabelCounts:
    """Pixels and images of each class in one split."""

    split: str
    classes: Sequence[str]
    reduce_zero_label: bool = False
    images: int = 0
    #: Class index, or 255 -> pixels.
    pixels: Counter = field(default_factory=Counter)
    #: Class index -> images with at least a pixel of it.
    images_with: Counter = field(default_factory=Counter)
    #: Pixels of the images that hold a class.
    pixels_around: Counter = field(default_factory=Counter)
    #: Values or colours as the files hold them -> pixels.
    raw: Counter = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def __add__(self, other: LabelCounts) -> LabelCounts:
        """Counts of two parts of one split, such as members of a ``ConcatDataset``."""
        added = ("images", "pixels", "images_with", "pixels_around", "raw", "findings")
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in added})

    def absent(self) -> list[str]:
        """Names of the classes without a pixel."""
        return [name for i, name in enumerate(self.classes) if not self.pixels[i]]

    def class_weight(self) -> list[float]:
        """Weights by median frequency (Eigen and Fergus, arXiv:1411.4734, section 6.3.2).

        Returns:
            list[float]: median(f) / f of each class, f the share of its pixels in the images that
            hold it; 1 for a class without a pixel.
        """
        share = {
            i: self.pixels[i] / self.pixels_around[i]
            for i in range(len(self.classes))
            if self.pixels[i]
        }
        median = float(np.median(list(share.values()))) if share else 1.0
        return [
            round(median / share[i], 4) if i in share else 1.0 for i in range(len(self.classes))
        ]


def count_labels(
    dataset: BaseDataset, split: str, indices: Iterable[int] | None = None
) -> LabelCounts:
    """Read every image and label map of a data set once.

    Args:
        dataset (BaseDataset): Of MMSegmentation; its pipeline is not run, but its
            ``LoadAnnotations``, without the check of ``num_classes``.
        split (str): Its name in findings.
        indices (Iterable[int], optional): Which images, such as a progress bar over all. Default:
            all.

    Returns:
        LabelCounts: Counts, and findings with the file and the setting to change.
    """
    counts = LabelCounts(split, dataset.metainfo["classes"], dataset.reduce_zero_label)
    load = LoadAnnotations(imdecode_backend="pillow")
    steps = dataset.pipeline.transforms
    loaders = [t for t in steps if isinstance(t, LoadAnnotations)]
    load_image = next((t for t in steps if isinstance(t, StrictLoadImageFromFile)), None)
    load_image = load_image or StrictLoadImageFromFile()
    checks = getattr(loaders[0], "num_classes", None) if loaders else None
    if loaders:
        load = loaders[0]
    outside: Counter = Counter()
    faults: dict[str, list[str]] = {}
    try:
        if hasattr(load, "num_classes"):
            load.num_classes = None
        for i in range(len(dataset)) if indices is None else indices:
            info = dataset.get_data_info(i)
            if "seg_map_path" not in info:
                counts.findings.append(
                    f"{split}: has no label maps; set data_prefix.seg_map_path in the data set"
                )
                return counts
            counts.images += 1
            try:
                size = load_image.transform(dict(info))["img_shape"]
                with naming(info["seg_map_path"]):
                    raw = raw_values(info["seg_map_path"])
                counts.raw.update(raw)
                if any(isinstance(value, tuple) for value in raw) and not info.get("label_colors"):
                    faults.setdefault("colour", []).append(info["seg_map_path"])
                    continue
                info = load.transform(dict(info, ori_shape=size))
            except ValueError as error:
                faults.setdefault("unusable", []).append(str(error))
                continue
            labels = info["gt_seg_map"]
            values, pixels = np.unique(labels, return_counts=True)
            for value, n in zip(values.tolist(), pixels.tolist(), strict=True):
                counts.pixels[value] += n
                counts.images_with[value] += 1
                counts.pixels_around[value] += labels.size
                if value >= len(counts.classes) and value != IGNORE_INDEX:
                    outside[value] += n
    finally:
        if hasattr(load, "num_classes"):
            load.num_classes = checks
    counts.findings += list(_findings(counts, faults, outside, dataset))
    return counts


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Let an error in reading a file name it.

    Raises:
        ValueError: In place of what Pillow or NumPy raise.
    """
    try:
        yield
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read: {reason(error)}") from error


def raw_values(path: str | Path) -> Counter:
    """Values or colours in a label map, as the file holds them.

    Args:
        path (str | Path): An image file or a NumPy file.

    Returns:
        Counter: Value, or (red, green, blue) -> pixels.

    Raises:
        OSError: If it cannot be read.
    """
    if str(path).lower().endswith(".npy"):
        array = np.load(path)
    else:
        with Image.open(path) as picture:
            without_alpha = {"RGBA": "RGB", "LA": "L"}.get(picture.mode, picture.mode)
            array = np.asarray(picture.convert(without_alpha))
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim == 3:
        values, pixels = np.unique(array.reshape(-1, array.shape[2]), axis=0, return_counts=True)
        return Counter(dict(zip(map(tuple, values.tolist()), pixels.tolist(), strict=True)))
    values, pixels = np.unique(array, return_counts=True)
    return Counter(dict(zip(values.tolist(), pixels.tolist(), strict=True)))


def absent_classes(counts: Sequence[LabelCounts]) -> list[str]:
    """Findings about classes that a split lacks.

    Args:
        counts (Sequence[LabelCounts]): Of each split one; ``train`` is trained on.

    Returns:
        list[str]: One finding a split.
    """
    findings = []
    for split in counts:
        if absent := split.absent():
            effect = (
                "the model cannot learn it; add images or take it out of classes"
                if split.split == "train"
                else "its IoU there is nan and the mean leaves it out; move images that hold it"
            )
            findings.append(
                f"{split.split}: no pixel of {', '.join(absent)}: {effect} "
                f"(classes and their order: {', '.join(split.classes)})"
            )
    return findings


def reduced_from_zero(counts: Sequence[LabelCounts]) -> list[str]:
    """A finding if ``reduce_zero_label=True`` may take away a class instead of 'no class'.

    Args:
        counts (Sequence[LabelCounts]): Of all splits and their parts. If one holds the label of
            the last class, they count from 1.

    Returns:
        list[str]: At most one.
    """
    reduced = [split for split in counts if split.reduce_zero_label]
    raw = sum((split.raw for split in reduced), Counter())
    labels = {value for value in raw if not isinstance(value, tuple)} - {IGNORE_INDEX}
    if 0 not in labels or max(labels) != len(reduced[0].classes) - 1:
        return []
    splits = ", ".join(dict.fromkeys(split.split for split in reduced))
    first, last = reduced[0].classes[0], reduced[0].classes[-1]
    return [
        f"{splits}: reduce_zero_label=True makes label 0 'no class' "
        f"({raw[0] / raw.total():.0%} of the pixels) and takes 1 off the others, and no file holds "
        f"{max(labels) + 1}, which would be {last}. Is 0 {first} in the files? Then {first} is "
        "lost and all others shift: set reduce_zero_label=False. If 0 is 'no class', the setting "
        f"is right and the files lack {last}"
    ]


def _findings(
    counts: LabelCounts,
    faults: dict[str, list[str]],
    outside: Counter,
    dataset: BaseDataset,
) -> Iterable[str]:
    split, k = counts.split, len(counts.classes)
    colored = faults.get("colour", [])
    if colored:
        colors = [value for value in counts.raw if isinstance(value, tuple)]
        colors = sorted(colors, key=counts.raw.get, reverse=True)
        listed = ", ".join(map(str, colors[: min(MOST_VALUES, 3 * k)]))
        yield (
            f"{split}: {len(colored)} label maps are colour pictures, such as {colored[0]}. Set "
            f"label_colors in the data set, one RGB a class in the order of classes, and "
            f"void_colors for pixels without one. {len(colors)} colours found, most frequent "
            f"first: {listed}{', ..' * (len(colors) > min(MOST_VALUES, 3 * k))}"
        )
    for error in faults.get("unusable", [])[:10]:
        yield f"{split}: {error}"
    if len(faults.get("unusable", [])) > 10:
        yield f"{split}: and {len(faults['unusable']) - 10} more files"
    values = {value for value, n in counts.pixels.items() if n}
    labels = values - {IGNORE_INDEX}
    raw = {value for value in counts.raw if not isinstance(value, tuple)}
    is_mapped = any(
        getattr(dataset, option, None) is not None for option in ("label_values", "label_colors")
    )
    if raw == {0, 255} and not is_mapped:
        yield (
            f"{split}: the label maps hold 0 and 255 only, and 255 means 'no class': nothing but "
            f"{counts.classes[0]} would be trained. If 255 is the object, set "
            "label_values=[(0, 0), (255, 1)] in the data set"
        )
    elif outside and 0 not in values and max(labels) == k and not dataset.reduce_zero_label:
        yield (
            f"{split}: the labels are 1..{k}, and {k} classes are 0..{k - 1}. Set "
            "reduce_zero_label=True in the data set, which takes 1 off and makes 0 'no class'"
        )
    elif outside:
        some = ", ".join(f"{v} ({n} pixels)" for v, n in outside.most_common(8))
        yield (
            f"{split}: labels outside the {k} classes 0..{k - 1}: {some}. Add classes, or map "
            "these values with label_values in the data set ((value, 255) for 'no class')"
        )
