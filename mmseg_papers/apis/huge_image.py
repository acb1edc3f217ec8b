"""Label maps of images that do not fit into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from .predictor import Predictor

#: Side of a tile of the label file.
TILE = 512


def predict_huge_image(
    predictor: Predictor, source: str | Path, target: str | Path, *, margin: int = 128
) -> None:
    """Read an image window by window and write its label map tile by tile.

    Memory does not grow with the image: at a time there is one window, a tile of 512 x 512 pixels
    with ``margin`` pixels around it (the overlap-tile strategy of U-Net, arXiv:1505.04597,
    figure 2). Tiles of a TIFF are decoded as they are needed; a JPEG or PNG has no tiles, so
    Pillow decodes it whole, in 3 bytes a pixel.

    Args:
        predictor (Predictor): Its pipeline must not resize.
        source (str | Path): A TIFF, best tiled; a NumPy file (H, W, C); or any image.
        target (str | Path): Label map to write, a tiled and compressed TIFF, uint8.
        margin (int): Context around a tile in pixels, as much as the model sees. Default: 128.

    Raises:
        ImportError: If tifffile is missing.
        ValueError: If ``target`` does not end in .tif, or the pipeline resizes.
        OSError: If ``source`` cannot be read. ``target`` is not left half written.
    """
    tifffile = _tifffile()
    target = Path(target)
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"target must end in .tif, got {target}")
    resizes = [t for t in predictor.pipeline.transforms if "Resize" in type(t).__name__]
    if resizes:
        raise ValueError(
            f"the test pipeline has {type(resizes[0]).__name__}, which would resize every window; "
            "take it out of test_dataloader.dataset.pipeline"
        )
    image = WindowReader(source)
    partial = target.with_name(f"{target.name}.partial")
    try:
        tifffile.imwrite(
            partial,
            _label_tiles(predictor, image, margin),
            shape=image.size,
            dtype=np.uint8,
            tile=(TILE, TILE),
            compression="zlib",
            bigtiff=True,
        )
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _label_tiles(predictor: Predictor, image: WindowReader, margin: int) -> Iterator[np.ndarray]:
    height, width = image.size
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            y, x = max(top - margin, 0), max(left - margin, 0)
            window = image.read(
                y, min(top + TILE + margin, height), x, min(left + TILE + margin, width)
            )
            labels = predictor(window).labels[top - y :, left - x :][:TILE, :TILE]
            bottom, right = TILE - labels.shape[0], TILE - labels.shape[1]
            yield np.pad(labels, ((0, bottom), (0, right)))


class WindowReader:
    """Windows of an image file, BGR where it has three channels.

    Args:
        path (str | Path): A TIFF, a NumPy file (H, W, C) or any image that Pillow reads.

    Raises:
        ImportError: If it is a TIFF and tifffile is missing.
        OSError: If it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        self.page = None
        if suffix in (".tif", ".tiff"):
            self.page = _tifffile().TiffFile(self.path).pages[0]
            self.size = (self.page.imagelength, self.page.imagewidth)
        elif suffix == ".npy":
            self.array = np.load(self.path, mmap_mode="r")
            self.size = self.array.shape[:2]
        else:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                self.array = np.asarray(Image.open(self.path).convert("RGB"))
            finally:
                Image.MAX_IMAGE_PIXELS = limit
            self.size = self.array.shape[:2]

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """A window.

        Args:
            top (int): First row.
            bottom (int): Row after the last.
            left (int): First column.
            right (int): Column after the last.

        Returns:
            np.ndarray: (bottom - top, right - left, C).
        """
        if self.page is None:
            window = np.array(self.array[top:bottom, left:right])
        else:
            window = self._read_segments(top, bottom, left, right)
        if window.ndim == 2:
            window = window[..., None].repeat(3, axis=2)
        is_rgb = window.shape[2] == 3 and self.path.suffix.lower() != ".npy"
        return np.ascontiguousarray(window[..., ::-1] if is_rgb else window)

    def _read_segments(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Decode the tiles or strips of a TIFF that meet the window, and no others."""
        page = self.page
        rows = page.tilelength if page.is_tiled else page.rowsperstrip
        columns = page.tilewidth if page.is_tiled else page.imagewidth
        across = -(-page.imagewidth // columns)
        window = np.zeros((bottom - top, right - left, page.samplesperpixel), page.dtype)
        handle = page.parent.filehandle
        for row in range(top // rows, -(-bottom // rows)):
            for column in range(left // columns, -(-right // columns)):
                index = row * across + column
                handle.seek(page.dataoffsets[index])
                data = handle.read(page.databytecounts[index])
                segment, _, _ = page.decode(data, index)
                y, x = row * rows, column * columns
                tile = segment[0, : self.size[0] - y, : self.size[1] - x]
                part = tile[max(top - y, 0) : bottom - y, max(left - x, 0) : right - x]
                into = window[max(y - top, 0) :, max(x - left, 0) :]
                into[: part.shape[0], : part.shape[1]] = part
        return window


def _tifffile():
    try:
        import tifffile
    except ImportError as error:
        raise ImportError(
            "TIFF files are read and written by tifffile: pip install tifffile"
        ) from error
    return tifffile
