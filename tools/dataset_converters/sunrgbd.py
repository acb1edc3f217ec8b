"""Make the layout of SUNRGBDDataset from SUN RGB-D and its toolbox.

python tools/dataset_converters/sunrgbd.py FOLDER data/sunrgbd

FOLDER holds SUNRGBD and SUNRGBDtoolbox as unpacked. Reading the labels of the 37 classes needs
h5py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prepared_layout import Sample, from_one, require_files, run, write_layout
from scipy.io import loadmat

NUM_CLASSES = 37
SPLITS = {"train": ("alltrain", 5285), "test": ("alltest", 5050)}


def convert(source: Path, target: Path) -> None:
    """Write ``images/<split>`` and ``annotations/<split>``, or nothing at all.

    Args:
        source (Path): Folder with ``SUNRGBD`` and ``SUNRGBDtoolbox``.
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
        raise ImportError("SUNRGBD2Dseg.mat is read by h5py: pip install h5py") from error
    toolbox = source / "SUNRGBDtoolbox"
    labels_file = toolbox / "Metadata" / "SUNRGBD2Dseg.mat"
    frames_file = toolbox / "Metadata" / "SUNRGBDMeta.mat"
    splits_file = toolbox / "traintestSUNRGBD" / "allsplit.mat"
    require_files(labels_file, frames_file, splits_file)
    lists = loadmat(splits_file)
    split_of = {
        within(str(cell.item())): split
        for split, (key, _) in SPLITS.items()
        for cell in lists[key].ravel()
    }
    for split, (key, count) in SPLITS.items():
        found = list(split_of.values()).count(split)
        if found != count:
            raise ValueError(f"{splits_file}: {key} has {found} entries of its own, not {count}")
    images = [
        within(path) for path in loadmat(frames_file, squeeze_me=True)["SUNRGBDMeta"]["rgbpath"]
    ]
    with h5py.File(labels_file) as data:
        samples = _samples(data, source / "SUNRGBD", images, split_of)
        write_layout(target, samples, len(images), NUM_CLASSES)


def _samples(data, root: Path, images: list[str], split_of: dict[str, str]) -> Iterator[Sample]:
    """Label maps lie behind references, their axes reversed."""
    references = data["SUNRGBD2Dseg"]["seglabel"]
    for i, image in enumerate(images):
        folder = image.rpartition("/image/")[0]
        if folder not in split_of:
            raise ValueError(f"{image} is in neither split")
        file = root / image
        require_files(file)
        label = from_one(data[references[i, 0]][()].T)
        yield split_of[folder], f"{i + 1:06}", file, label


def within(path: str) -> str:
    """A path of the authors' disk -> below the folder SUNRGBD."""
    return path.partition("/SUNRGBD/")[2].rstrip("/")


def main() -> None:
    """Run the command line."""
    run(convert, __doc__, "data/sunrgbd", source="folder with SUNRGBD and SUNRGBDtoolbox")


if __name__ == "__main__":
    main()
