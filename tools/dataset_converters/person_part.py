"""Make the layout of PascalPersonPartDataset from its label maps and PASCAL VOC 2010.

python tools/dataset_converters/person_part.py pascal_person_part VOCdevkit/VOC2010 data/person_part

pascal_person_part holds pascal_person_part_gt (label maps) and pascal_person_part_trainval_list
(train.txt, val.txt; a line begins with an image's name or path).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from prepared_layout import Sample, require_files, run, write_layout

NUM_CLASSES = 7
SPLITS = {"train": 1716, "val": 1817}


def convert(parts: Path, voc: Path, target: Path) -> None:
    """Write ``images/<split>`` and ``annotations/<split>``, or nothing at all.

    Args:
        parts (Path): Folder with the label maps and lists.
        voc (Path): Folder VOC2010, of which ``JPEGImages`` is read.
        target (Path): Folder to make.

    Raises:
        FileNotFoundError: If a file is missing.
        FileExistsError: If ``target`` exists.
        ValueError: If a list has another length, or a label map other values.
    """
    members = []
    for split, count in SPLITS.items():
        listing = parts / "pascal_person_part_trainval_list" / f"{split}.txt"
        require_files(listing)
        lines = [line.split() for line in listing.read_text().splitlines()]
        names = [Path(line[0]).stem for line in lines if line]
        if len(names) != count:
            raise ValueError(f"{listing} lists {len(names)} images, not {count}")
        members += [(split, name) for name in names]
    write_layout(target, _samples(parts, voc, members), len(members), NUM_CLASSES)


def _samples(parts: Path, voc: Path, members: list[tuple[str, str]]) -> Iterator[Sample]:
    for split, name in members:
        image = voc / "JPEGImages" / f"{name}.jpg"
        label = parts / "pascal_person_part_gt" / f"{name}.png"
        require_files(image, label)
        yield split, name, image, np.array(Image.open(label))


def main() -> None:
    """Run the command line."""
    run(
        convert,
        __doc__,
        "data/person_part",
        parts="folder pascal_person_part",
        voc="folder VOC2010",
    )


if __name__ == "__main__":
    main()
