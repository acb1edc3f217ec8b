"""What the preparation scripts share: writing a data set whole or not at all."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

#: Split, name without suffix, image (a file to copy, or RGB values) and label map.
Sample = tuple[str, str, "Path | np.ndarray", np.ndarray]


def write_layout(target: Path, samples: Iterable[Sample], count: int, num_classes: int) -> None:
    """Write ``images/<split>`` and ``annotations/<split>``.

    Args:
        target (Path): Folder to make.
        samples (Iterable[Sample]): Label maps (H, W) hold classes or 255.
        count (int): How many there are.
        num_classes (int): Labels must be below it.

    Raises:
        FileExistsError: If ``target`` exists.
        ValueError: If a label map holds another value, or is not of its image's size.
    """
    if os.path.lexists(target):  # also a link to nothing
        raise FileExistsError(f"{target} exists; remove it or name another folder")
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for split, name, image, label in track(samples, "Converting", total=count):
            outside = np.setdiff1d(label, [*range(num_classes), 255])
            if label.ndim != 2 or outside.size:
                raise ValueError(
                    f"the label map of {name} must have one channel with values "
                    f"0..{num_classes - 1} or none, got shape {label.shape} and {outside.tolist()}"
                )
            folders = [part / kind / split for kind in ("images", "annotations")]
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            if isinstance(image, Path):
                size = Image.open(image).size
                shutil.copy(image, folders[0] / f"{name}{image.suffix}")
            else:
                size = image.shape[1::-1]
                Image.fromarray(image).save(folders[0] / f"{name}.png")
            if size != label.shape[::-1]:
                raise ValueError(
                    f"the label map of {name} is {label.shape[1]} x {label.shape[0]} and its image "
                    f"{size[0]} x {size[1]} pixels (width x height)"
                )
            Image.fromarray(label.astype(np.uint8)).save(folders[1] / f"{name}.png")
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def require_files(*paths: Path) -> None:
    """Fail with the names of the files or folders that are missing.

    Args:
        *paths (Path): Needed.

    Raises:
        FileNotFoundError: If one is missing.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(f"missing: {', '.join(missing)}")


def from_one(label: np.ndarray) -> np.ndarray:
    """Labels that count classes from 1, with 0 for none -> from 0, with 255 for none."""
    return np.where(label == 0, 255, label.astype(np.int64) - 1)


def run(convert: Callable[..., None], purpose: str, target: str, **sources: str) -> None:
    """Run a preparation script's command line.

    Args:
        convert (Callable): Takes the folders by name and writes ``target``.
        purpose (str): The script's docstring.
        target (str): Default of the last argument.
        **sources (str): Name of each folder to read -> its help.
    """
    parser = argparse.ArgumentParser(description=purpose.split("\n")[0])
    for name, text in sources.items():
        parser.add_argument(name, type=Path, help=text)
    parser.add_argument("target", type=Path, nargs="?", default=Path(target))
    args = parser.parse_args()
    try:
        convert(**vars(args))
    except (OSError, ValueError, ImportError) as error:
        parser.exit(1, f"{error}\n")
    print(f"wrote {args.target.absolute()}")
