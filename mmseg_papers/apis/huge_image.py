"""Label maps of images that do not fit into memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..datasets.transforms.loading import GREY, StrictLoadImageFromFile, has_bands, reason
from .predictor import Predictor

if TYPE_CHECKING:
    import tifffile

#: Side of a tile of the label file.
TILE = 512
#: Values of TIFF's tags: bands in planes; alpha that the colours are not multiplied by; JPEG.
PLANAR, ALPHA, JPEG = 2, 2, 7
#: Values of TIFF's PhotometricInterpretation.
WHITE_IS_0, BLACK_IS_0, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6


def predict_huge_image(
    predictor: Predictor, source: str | Path, target: str | Path, *, margin: int = 128
) -> None:
    """Read an image window by window and write its label map tile by tile.

    The image is that of the test pipeline's ``LoadImageFromFile``, as ``predict`` has it.
    Memory does not grow with the image: at a time there is one window, a tile of 512 x 512 pixels
    with ``margin`` pixels around it (the overlap-tile strategy of U-Net, arXiv:1505.04597,
    figure 2). Tiles of a TIFF are decoded as they are needed; a JPEG or PNG has no tiles, so it is
    loaded whole.

    Args:
        predictor (Predictor): Its pipeline must not resize.
        source (str | Path): A TIFF, best tiled; a NumPy file (H, W, C); or any image.
        target (str | Path): Label map to write, a tiled and compressed TIFF, uint8 (uint16 for
            more than 256 classes).
        margin (int): Context around a tile in pixels, as much as the model sees. Default: 128.

    Raises:
        ImportError: If tifffile is missing, or imagecodecs for the compression of ``source``.
        ValueError: If ``target`` does not end in .tif, ``margin`` is negative, the pipeline
            resizes, or ``source`` cannot be read, is a TIFF of several images or a picture that
            cannot be read in windows as it is loaded whole.
        OSError: If ``target`` cannot be written. It is not left half written, whatever the error.
    """
    tifffile = _tifffile()
    if margin < 0:
        raise ValueError(f"margin must be at least 0, got {margin}")
    target = Path(target)
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"target must end in .tif, got {target}")
    resizes = [t for t in predictor.pipeline.transforms if "Resize" in type(t).__name__]
    if resizes:
        raise ValueError(
            f"the test pipeline has {type(resizes[0]).__name__}, which would resize every window; "
            "take it out of test_dataloader.dataset.pipeline"
        )
    partial = target.with_name(f"{target.name}.partial")
    with WindowReader(source, predictor.load) as image:
        try:
            tifffile.imwrite(
                partial,
                _label_tiles(predictor, image, margin),
                shape=image.size,
                dtype=predictor.label_type,
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
    """Windows of an image file, with the values that loading it whole gives.

    Bands of a TIFF may be samples of a page, side by side or in planes, or a page each. Smaller
    pages, as in a pyramid, and masks are left out; tiles that a sparse file lacks hold its value
    for no data. A context manager, which closes the file.

    Args:
        path (str | Path): A TIFF, a NumPy file (H, W, C) or any image that ``load`` reads.
        load (Callable, optional): First step of a pipeline. Default: ``LoadImageFromFile``.

    Raises:
        ImportError: If it is a TIFF and tifffile is missing.
        ValueError: If it cannot be read, is a TIFF of several images, or ``load`` reads it
            otherwise than in windows.
    """

    def __init__(self, path: str | Path, load: Callable[[dict], dict] | None = None) -> None:
        self.path = Path(path)
        self.load = StrictLoadImageFromFile() if load is None else load
        suffix = self.path.suffix.lower()
        self.tiff = None
        if suffix in (".tif", ".tiff", ".npy") and not isinstance(
            self.load, StrictLoadImageFromFile
        ):
            raise ValueError(
                f"{self.path} is read in windows as LoadImageFromFile does it; the test pipeline "
                f"begins with {type(self.load).__name__}"
            )
        if suffix in (".tif", ".tiff"):
            tifffile = _tifffile()
            with _naming(self.path):
                self.tiff = tifffile.TiffFile(self.path)
            try:
                self._open_pages()
            except BaseException:
                self.close()
                raise
        elif suffix == ".npy":
            with _naming(self.path):
                self.array = np.load(self.path, mmap_mode="r")
                if self.array.ndim not in (2, 3):
                    raise ValueError(f"it holds no image (H, W, C), but shape {self.array.shape}")
            self.size = self.array.shape[:2]
        else:
            with _any_size():
                self.array = self.load(dict(img_path=str(self.path)))["img"]
            self.size = self.array.shape[:2]

    def _open_pages(self) -> None:
        with _naming(self.path):
            pages = list(self.tiff.pages)
            first = pages[0]
        self.size = (first.imagelength, first.imagewidth)
        self.pages = [
            page
            for page in pages
            if (page.imagelength, page.imagewidth) == self.size
            and page.dtype == first.dtype
            and not page.is_mask
        ] or [first]
        self.has_colors = len(self.pages) == 1 and first.photometric not in GREY
        images = sum(page.imagedepth for page in self.pages)
        samples = max(page.samplesperpixel for page in self.pages)
        if images > 1 and (samples > 1 or images > len(self.pages)):
            raise ValueError(
                f"{self.path} holds {images} images of {samples} channels; save each as a "
                "file of its own"
            )
        self.is_picture = len(pages) == 1 and _is_picture(self.path, self.load.color_type)
        if self.is_picture and not _can_be_converted(first, self.load):
            bits, kind = first.bitspersample, getattr(first.photometric, "name", first.photometric)
            raise ValueError(
                f"{self.path} ({samples} x {bits} bits, {kind}) cannot be read in windows as "
                f"LoadImageFromFile(color_type={self.load.color_type!r}) reads it whole; save it "
                "upright as 8-bit grey, or as 8-bit RGB without alpha for color_type='color', and "
                "leave imdecode_backend at 'cv2'"
            )

    def __enter__(self) -> WindowReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self.tiff is not None:
            self.tiff.close()

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """A window.

        Args:
            top (int): First row.
            bottom (int): Row after the last.
            left (int): First column.
            right (int): Column after the last.

        Returns:
            np.ndarray: (bottom - top, right - left, C).

        Raises:
            ImportError: If imagecodecs is missing for the compression of a TIFF.
            ValueError: If the file is damaged there.
        """
        if self.tiff is None:
            window = np.array(self.array[top:bottom, left:right])
            return window[..., None] if window.ndim == 2 else window
        with _naming(self.path):
            parts = [_read_segments(page, top, bottom, left, right) for page in self.pages]
        window = np.concatenate(parts, axis=2)
        if self.is_picture:
            window = _convert(window, self.pages[0], self.load.color_type)
        is_rgb = self.has_colors and window.shape[2] == 3
        return np.ascontiguousarray(window[..., ::-1] if is_rgb else window)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have errors of reading a file name it."""
    try:
        yield
    except Exception as error:  # each codec has its own
        if not isinstance(error, OSError) and "imagecodecs" in str(error):  # which names the file
            raise ImportError(
                f"{path} cannot be decompressed: {error}: pip install imagecodecs"
            ) from error
        raise ValueError(f"image {path} cannot be loaded: {reason(error)}") from error


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Lift Pillow's limit of pixels."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _is_picture(path: Path, color_type: str) -> bool:
    """Whether ``LoadImageFromFile`` has a TIFF of one page converted by Pillow or OpenCV."""
    try:
        with _any_size(), Image.open(path) as picture:
            return not has_bands(picture, color_type)
    except UnidentifiedImageError:
        return False


def _can_be_converted(page: tifffile.TiffPage, load: StrictLoadImageFromFile) -> bool:
    """Whether :func:`_convert` knows what a picture becomes when it is loaded."""
    color_type, photometric, samples = load.color_type, page.photometric, page.samplesperpixel
    if (
        color_type not in ("color", "grayscale", "unchanged")
        or load.imdecode_backend != "cv2"
        or load.file_client_args is not None
        or page.tags.valueof("Orientation", 1) != 1
    ):
        return False
    is_bit, is_byte = page.dtype == np.bool_, page.dtype == np.uint8
    if photometric == PALETTE:
        return samples == 1 and is_byte and color_type != "grayscale"
    if not is_bit and page.bitspersample != 8 * page.dtype.itemsize:
        return False
    if color_type == "grayscale":
        return samples == 1 and photometric == BLACK_IS_0 and is_byte
    if photometric == WHITE_IS_0:
        return samples == 1 and (is_bit or is_byte)
    if photometric == YCBCR:
        return samples == 3 and page.compression == JPEG
    if color_type == "unchanged":
        return (samples, photometric) in ((1, BLACK_IS_0), (3, RGB))
    if not (is_bit or is_byte or page.dtype == np.uint16):
        return False
    if samples == 4:
        return photometric == RGB and tuple(page.extrasamples) in ((), (ALPHA,))
    return (samples, photometric) in ((1, BLACK_IS_0), (3, RGB))


def _convert(window: np.ndarray, page: tifffile.TiffPage, color_type: str) -> np.ndarray:
    """What a picture's values (H, W, samples) become when it is loaded, but red first."""
    if page.photometric == PALETTE:
        window = (page.colormap.T >> 8).astype(np.uint8)[window[..., 0]]
    if window.dtype == np.bool_:
        window = window * np.uint8(255)
    if page.photometric == WHITE_IS_0:
        window = ~window
    if color_type == "color":
        if window.dtype == np.uint16 and window.shape[2] == 3:  # libtiff rounds
            window = ((window.astype(np.uint32) + 128) // 257).astype(np.uint8)
        elif window.dtype == np.uint16:
            window = (window >> 8).astype(np.uint8)
        window = window.repeat(3, axis=2) if window.shape[2] == 1 else window[..., :3]
    return window


def _read_segments(
    page: tifffile.TiffPage, top: int, bottom: int, left: int, right: int
) -> np.ndarray:
    """Decode the tiles or strips of a page that meet the window, and no others."""
    height, width = page.imagelength, page.imagewidth
    rows = page.tilelength if page.is_tiled else page.rowsperstrip
    columns = page.tilewidth if page.is_tiled else width
    down, across = -(-height // rows), -(-width // columns)
    channels = page.samplesperpixel
    planes = channels if page.planarconfig == PLANAR else 1
    window = np.full((bottom - top, right - left, channels), page.nodata, page.dtype)
    handle = page.parent.filehandle
    decode = page.decode  # found out at the first access, which may move the handle
    options = {}
    if page.compression == JPEG:
        options = dict(jpegtables=page.jpegtables, jpegheader=page.jpegheader)
    for plane, row, column in product(
        range(planes),
        range(top // rows, -(-bottom // rows)),
        range(left // columns, -(-right // columns)),
    ):
        index = (plane * down + row) * across + column
        if page.databytecounts[index] == 0:
            continue  # a sparse file
        handle.seek(page.dataoffsets[index])
        segment, _, _ = decode(handle.read(page.databytecounts[index]), index, **options)
        y, x = row * rows, column * columns
        tile = segment[0, : height - y, : width - x]
        part = tile[max(top - y, 0) : bottom - y, max(left - x, 0) : right - x]
        into = window[max(y - top, 0) :, max(x - left, 0) :, plane : plane + part.shape[2]]
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
