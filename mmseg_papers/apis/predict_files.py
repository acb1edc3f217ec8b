"""Predictions for files, folders, patterns and videos, written as pictures and a table."""

from __future__ import annotations

import glob
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from ..datasets.folder import IMAGE_SUFFIXES
from .predictor import Prediction, Predictor, check_opacity

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
#: MPEG-4's largest numerator of a frame rate.
MOST_TICKS = 65535
#: Folders of pictures in that of results.
KINDS = ("overlay", "labels", "confidence")


def find_files(
    sources: str | Path | Iterable[str | Path], results: str | Path | None = None
) -> list[Path]:
    """Images and videos that the sources name.

    Args:
        sources (str | Path | Iterable[str | Path]): Files, folders (searched with their
            sub-folders, linked ones too, for what is not hidden by a dot before its name) and
            patterns such as ``'street/*.jpg'``, which name files only.
        results (str | Path, optional): Folder of :func:`predict_files`, whose pictures are left
            out of a source that is a folder. Default: none.

    Returns:
        list[Path]: In order, each once.

    Raises:
        FileNotFoundError: If a source names nothing.
    """
    found: dict[Path, None] = {}
    for path in _listed(sources):
        if path.is_dir():
            suffixes = IMAGE_SUFFIXES + VIDEO_SUFFIXES
            pictures = [Path(results, kind).resolve() for kind in KINDS] if results else []
            files = [
                file
                for file in sorted(_files_below(path))
                if file.suffix.lower() in suffixes and file.parent.resolve() not in pictures
            ]
        elif path.is_file():
            files = [path]
        else:
            found_by_pattern = sorted(glob.glob(str(path), recursive=True))
            files = [Path(f) for f in found_by_pattern if not os.path.isdir(f)]
        if not files:
            raise FileNotFoundError(f"{path} is no file and names no image or video")
        found.update(dict.fromkeys(files))
    return list(found)


def _listed(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    return [Path(p) for p in ([paths] if isinstance(paths, (str, Path)) else paths)]


def _files_below(folder: Path) -> Iterator[Path]:
    """Files below a folder, no hidden ones; a folder that links lead to again counts once."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        # Where a link leads to a folder beside it, files keep the folder's own name.
        folders.sort(key=lambda name: (os.path.islink(os.path.join(parent, name)), name))
        yield from (Path(parent, file) for file in files if not file.startswith("."))


def predict_files(
    predictor: Predictor,
    files: str | Path | Iterable[str | Path],
    folder: str | Path,
    *,
    batch_size: int = 1,
    opacity: float = 0.5,
    bands: Sequence[int] = (2, 1, 0),
    show_progress: bool = False,
) -> dict[str, list[dict]]:
    """Predict files and write the results.

    Args:
        predictor (Predictor): The model.
        files (str | Path | Iterable[str | Path]): Images, loaded as the config loads those for
            testing, and videos.
        folder (str | Path): Gets ``overlay/NAME.png``, ``labels/NAME.png`` (class indices; 16 bits
            for more than 256 classes), ``confidence/NAME.png`` (probability of the winner times
            255) and ``classes.json``; of a video ``overlay/NAME.mp4`` only.
        batch_size (int): Images that are predicted together. Default: 1.
        opacity (float): Of the colours in overlays. Default: 0.5.
        bands (Sequence[int]): Channels drawn as red, green and blue, see
            :meth:`Prediction.overlay`. Default: (2, 1, 0).
        show_progress (bool): Draw a bar on the terminal. Default: False.

    Returns:
        dict[str, list[dict]]: File -> its table of classes, as in ``classes.json``. Of a video,
        pixels and shares are those of all frames.

    Raises:
        ValueError: If ``batch_size`` or ``opacity`` cannot be, a file cannot be read, or a video
            cannot be written as MPEG-4; those before it are written.
        FileExistsError: If two files would be written under one name; none is predicted then.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    check_opacity(opacity)
    files, folder = _listed(files), Path(folder)
    names: dict[str, Path] = {}
    for file in files:
        if names.setdefault(file.stem, file) != file:
            raise FileExistsError(
                f"{names[file.stem]} and {file} would both be written as {file.stem}; predict them "
                "into different folders"
            )
    tables: dict[str, list[dict]] = {}
    images: list[Path] = []

    def write_images() -> None:
        arrays = [predictor.load(dict(img_path=str(f)))["img"] for f in images]
        for file, array in zip(images, arrays, strict=True):
            try:
                predictor.check(array)
            except ValueError as error:
                raise ValueError(f"image {file} cannot be predicted: {error}") from error
        for file, array, result in zip(images, arrays, predictor.batch(arrays), strict=True):
            _write(result, result.overlay(array, opacity, bands), folder, file.stem)
            tables[str(file)] = result.table()
        images.clear()

    for file in track(files, "predicting", disable=not show_progress):
        if file.suffix.lower() in VIDEO_SUFFIXES:
            tables[str(file)] = _predict_video(predictor, file, folder, batch_size, opacity)
        else:
            images.append(file)
            if len(images) == batch_size:
                write_images()
    if images:
        write_images()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.json").write_text(json.dumps(tables, indent=1))
    return tables


def _write(prediction: Prediction, overlay: np.ndarray, folder: Path, name: str) -> None:
    pictures = [overlay, prediction.labels]
    if prediction.confidence is not None:
        pictures.append((prediction.confidence * 255).round().astype(np.uint8))
    for kind, picture in zip(KINDS, pictures, strict=False):
        target = folder / kind / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        # Encoded first: OpenCV cannot write to every path.
        target.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def _predict_video(
    predictor: Predictor, file: Path, folder: Path, batch_size: int, opacity: float
) -> list[dict]:
    video = cv2.VideoCapture(str(file))
    if not video.isOpened():
        raise ValueError(f"video {file} cannot be read: it is empty, no video or of another codec")
    target = folder / "overlay" / f"{file.stem}.mp4"
    target.parent.mkdir(parents=True, exist_ok=True)
    size = [int(video.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
    rate = min(video.get(cv2.CAP_PROP_FPS) or 25.0, MOST_TICKS)
    # OpenCV makes a fraction of it, of a power of ten.
    rate = round(rate, int(math.log10(MOST_TICKS / rate)))
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
    total: dict[int, dict] = {}
    try:
        if not writer.isOpened():
            raise ValueError(
                f"video {file} of {size[0]} x {size[1]} pixels and {rate} frames a second cannot "
                f"be written as the MPEG-4 {target}; predict its frames as images"
            )
        for frames in _frames(video, batch_size):
            for frame, result in zip(frames, predictor.batch(frames), strict=True):
                writer.write(result.overlay(frame, opacity))
                for row in result.table():
                    if row["index"] in total:
                        total[row["index"]]["pixels"] += row["pixels"]
                    else:
                        total[row["index"]] = {k: row[k] for k in ("index", "class", "pixels")}
    finally:
        video.release()
        writer.release()
    pixels = sum(row["pixels"] for row in total.values())
    if pixels == 0:
        target.unlink(missing_ok=True)
        raise ValueError(f"video {file} has no frame that can be read")
    rows = sorted(total.values(), key=lambda row: -row["pixels"])
    return [{**row, "share": row["pixels"] / pixels} for row in rows]


def _frames(video: cv2.VideoCapture, batch_size: int) -> Iterator[list[np.ndarray]]:
    frames = []
    while True:
        is_frame, frame = video.read()
        if is_frame:
            frames.append(frame)
        if frames and (len(frames) == batch_size or not is_frame):
            yield frames
            frames = []
        if not is_frame:
            return
