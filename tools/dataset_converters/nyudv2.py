"""Make the layout of NYUDv2Dataset from the labelled part of NYU Depth v2.

python tools/dataset_converters/nyudv2.py FOLDER data/nyudv2

FOLDER holds nyu_depth_v2_labeled.mat and splits.mat of the data set's page, and classMapping40.mat
(the 40 classes of Gupta et al.). Reading them needs h5py. The white border of every image is cut
off, as RefineNet's authors did.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from prepared_layout import Sample, from_one, require_files, run, write_layout
from scipy.io import loadmat

NUM_CLASSES = 40
SPLITS = {"train": ("trainNdxs", 795), "test": ("testNdxs", 654)}
WHITE = 250


def convert(source: Path, target: Path) -> None:
    """Write ``images/<split>`` and ``annotations/<split>``, or nothing at all.

    Args:
        source (Path): Folder with the three files.
        target (Path): Folder to make.

    Raises:
        FileNotFoundError: If a file is missing.
        FileExistsError: If ``target`` exists.
        ValueError: If a file holds something else than expected.
        ImportError: If h5py is missing.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError("nyu_depth_v2_labeled.mat is read by h5py: pip install h5py") from error
    names = ("nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat")
    data_file, splits_file, classes_file = (source / name for name in names)
    require_files(data_file, splits_file, classes_file)
    splits = loadmat(splits_file)
    indices = {split: splits[key].ravel() - 1 for split, (key, _) in SPLITS.items()}
    for split, (key, count) in SPLITS.items():
        if len(indices[split]) != count:
            raise ValueError(f"{splits_file}: {key} has {len(indices[split])} entries, not {count}")
    classes = loadmat(classes_file)["mapClass"].ravel()
    if classes.min() < 1 or classes.max() > NUM_CLASSES:
        raise ValueError(f"{classes_file}: mapClass must have values 1..{NUM_CLASSES}")
    to_class = np.concatenate([[0], classes])  # 0 is unlabelled
    with h5py.File(data_file) as data:
        samples = _samples(data["images"], data["labels"], indices, to_class)
        write_layout(target, samples, sum(map(len, indices.values())), NUM_CLASSES)


def _samples(images, labels, indices: dict, to_class: np.ndarray) -> Iterator[Sample]:
    """MATLAB's arrays come with their axes reversed: (N, 3, W, H) and (N, W, H)."""
    for split, members in indices.items():
        for i in members:
            image = np.ascontiguousarray(images[i].transpose(2, 1, 0))
            label = from_one(to_class[labels[i].T])
            inside = within_border(image)
            yield split, f"{i + 1:06}", np.ascontiguousarray(image[inside]), label[inside]


def within_border(image: np.ndarray) -> tuple[slice, slice]:
    """What is inside the rows and columns at the edges that are white throughout.

    Args:
        image (np.ndarray): (H, W, 3).

    Returns:
        tuple[slice, slice]: Rows and columns; all of a white image.
    """
    coloured = (image < WHITE).any(axis=2)
    if not coloured.any():
        return slice(None), slice(None)
    rows, columns = (np.flatnonzero(coloured.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def main() -> None:
    """Run the command line."""
    run(convert, __doc__, "data/nyudv2", source="folder with the three .mat files")


if __name__ == "__main__":
    main()
