"""Loading that names the file when an image or its labels cannot be used.

Both transforms take the place of those that configs call ``LoadImageFromFile`` and
``LoadAnnotations`` under mmseg's scope: ``mmseg``'s inferencers find and replace the two by these
names, so a config cannot use others. What they return for sound files is the same to the bit, but
for TIFF files of other channels than grey or colours.
"""

from __future__ import annotations

import contextlib
import io

import cv2
import mmcv
import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

from ..replacing import replaces

#: Formats and modes of Pillow whose colour pixels are OpenCV's, to the bit, if they have 8 bits.
FORMATS_SAME_IN_PILLOW = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
MODES_SAME_IN_PILLOW = ("RGB", "L", "P", "RGBA")
#: What readers raise for a file that is damaged or no image. SyntaxError: a damaged PNG; EOFError:
#: an empty NumPy file; IndexError: a TIFF without a page.
UNREADABLE = (OSError, EOFError, IndexError, SyntaxError, ValueError, AssertionError, cv2.error)
#: Files that may hold any number of channels.
BAND_SUFFIXES = (".npy", ".tif", ".tiff")
#: Values of TIFF's PhotometricInterpretation for bands that are no colours.
GREY = (0, 1)
#: TIFF's tag for what the samples beside grey or colours are, and its value for bands.
EXTRA_SAMPLES, NO_ALPHA = 338, 0
#: TIFF's tag for the bits of each sample.
BITS_PER_SAMPLE = 258
NO_IMAGE = "it is empty or no image"
#: Types of images that OpenCV resizes.
RESIZABLE = (np.uint8, np.uint16, np.int16, np.float32, np.float64)
#: Label of pixels without a class, as mmseg's LoadAnnotations makes it.
IGNORE_INDEX = 255


@replaces(LoadImageFromFile, TRANSFORMS)
class StrictLoadImageFromFile(LoadImageFromFile):
    """Load an image; a file that is missing, unreadable or truncated is an error that names it.

    OpenCV decodes a truncated file without complaint and fills the rest with grey, so with the
    default backend Pillow reads the file: for its pixels where these are OpenCV's (8-bit images in
    colour), else only to see whether it is whole. NumPy files (H, W, C) are loaded as they are. So
    are, by tifffile, TIFF files with more than four channels, in one page or one a page; with a
    sample beside grey or colours that is no alpha (ExtraSamples 0); with an alpha sample for
    ``color_type='unchanged'`` (OpenCV multiplies the colours by it); and those that Pillow does not
    know. Of all these, types that OpenCV cannot resize, such as int64, become float32. Arguments
    are those of ``mmcv``'s ``LoadImageFromFile``; other images with other channels than BGR need
    ``color_type='unchanged'`` (or ``'grayscale'``).
    """

    def transform(self, results: dict) -> dict | None:
        """Load the image.

        Args:
            results (dict): With ``img_path``.

        Returns:
            dict | None: The same with ``img`` (H, W, 3), BGR, and its shapes; None for an
            unreadable file with ``ignore_empty``.

        Raises:
            ValueError: If the file cannot be read or decoded, or holds no finite numbers.
        """
        try:
            path = results["img_path"]
            image = self._load_bands(path) if path.lower().endswith(BAND_SUFFIXES) else None
            is_picture = image is None
            if is_picture:
                if self.imdecode_backend != "cv2" or self.file_client_args is not None:
                    return super().transform(results)
                image = self._decode(fileio.get(path, backend_args=self.backend_args))
            check_image(image)
            if not is_picture:
                image = resizable(image)
        except (*UNREADABLE, Image.DecompressionBombError) as error:
            if self.ignore_empty:
                return None
            raise ValueError(
                f"image {results['img_path']} cannot be loaded: {reason(error)}. "
                "Restore the file, or take it and its label map out of the data set"
            ) from error
        results["img"] = image.astype(np.float32) if self.to_float32 else image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def _load_bands(self, path: str) -> np.ndarray | None:
        """Load a NumPy file or a TIFF of bands; None for a TIFF that is a picture."""
        content = io.BytesIO(fileio.get(path, backend_args=self.backend_args))
        if path.lower().endswith(".npy"):
            return np.load(content, allow_pickle=False)
        with contextlib.suppress(UnidentifiedImageError), Image.open(content) as picture:
            if getattr(picture, "n_frames", 1) == 1 and not has_bands(picture, self.color_type):
                return None
        try:
            import tifffile
        except ImportError as error:
            raise OSError("a TIFF of this kind needs tifffile: pip install tifffile") from error
        content.seek(0)
        with tifffile.TiffFile(content) as file:
            array, page = file.asarray(), file.pages[0]
        has_colors = array.shape[-1] in (3, 4) and page.photometric not in GREY
        if array.ndim == 4 and has_colors:  # pages, of which OpenCV reads the first
            if self.color_type == "color":
                return None
            array = array[0]
        if array.ndim == 3 and array.shape[0] < min(array.shape[1:]):
            array = array.transpose(1, 2, 0)
        # A picture in several sizes is a picture.
        is_rgb = page.samplesperpixel == 3 == array.shape[-1] and page.photometric not in GREY
        return np.ascontiguousarray(array[..., ::-1]) if is_rgb else array

    def _decode(self, content: bytes) -> np.ndarray:
        backend = "cv2"
        try:
            with Image.open(io.BytesIO(content)) as picture:
                if self.color_type == "color" and is_same_in_pillow(picture):
                    backend = "pillow"
                else:
                    picture.load()
        except UnidentifiedImageError:
            pass  # a format that only OpenCV may know
        image = mmcv.imfrombytes(content, flag=self.color_type, backend=backend)
        if image is None:
            raise OSError(NO_IMAGE)
        return image


def is_same_in_pillow(picture: Image.Image) -> bool:
    """Whether Pillow reads a picture's colours as OpenCV does, but for TIFF's alpha.

    OpenCV multiplies the colours of a TIFF by it, Pillow leaves it out.

    Args:
        picture (Image.Image): As Pillow opens it.
    """
    bits = getattr(picture, "tag_v2", {}).get(BITS_PER_SAMPLE, ())
    if picture.format not in FORMATS_SAME_IN_PILLOW or picture.mode not in MODES_SAME_IN_PILLOW:
        return False
    return max(bits, default=8) <= 8 or picture.mode == "RGBA"


def has_bands(picture: Image.Image, color_type: str) -> bool:
    """Whether a TIFF of one page is loaded as bands, not as a picture.

    Args:
        picture (Image.Image): As Pillow opens it.
        color_type (str): Of :class:`StrictLoadImageFromFile`.
    """
    extra = getattr(picture, "tag_v2", {}).get(EXTRA_SAMPLES, ())
    return {"unchanged": len(extra) > 0, "color": NO_ALPHA in extra}.get(color_type, False)


def check_image(image: np.ndarray) -> None:
    """Refuse an array that a model would turn into nonsense.

    Args:
        image (np.ndarray): (H, W, C) or (H, W).

    Raises:
        ValueError: If it is no array, has another shape or no pixel, or holds no real, finite
            numbers.
    """
    if not isinstance(image, np.ndarray):
        kind = "None" if image is None else f"a {type(image).__name__}"
        raise ValueError(f"an image must be an array (H, W, C) or (H, W), got {kind}")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            f"an image must be an array (H, W, C) or (H, W) with pixels, got shape {image.shape}"
        )
    if image.dtype.kind not in "uif":
        raise ValueError(f"an image must hold integers or floats, got {image.dtype}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(image))} of its {image.size} values are NaN or "
            "infinite; replace them"
        )


def resizable(image: np.ndarray) -> np.ndarray:
    """An image of a type that a pipeline can resize.

    Args:
        image (np.ndarray): (H, W, C) or (H, W).

    Returns:
        np.ndarray: The same; float32 if OpenCV does not resize its type, such as int64.
    """
    return image if image.dtype in RESIZABLE else image.astype(np.float32)


def reason(error: Exception) -> str:
    """What is wrong with a file, in the words of a user.

    Args:
        error (Exception): Of :data:`UNREADABLE`, or ``DecompressionBombError``.

    Returns:
        str: Without a full stop.
    """
    if isinstance(error, Image.DecompressionBombError):
        return (
            f"{str(error).partition(',')[0]}: cut it into tiles, or set "
            "PIL.Image.MAX_IMAGE_PIXELS in a custom import (predict it by "
            "mmseg_papers.apis.predict_huge_image)"
        )
    # NumPy takes any file for a pickle.
    is_pickle = isinstance(error, ValueError) and "pickled" in str(error)
    if is_pickle or isinstance(error, (UnidentifiedImageError, EOFError, IndexError, cv2.error)):
        return NO_IMAGE
    return str(error).rstrip(". ")


@replaces(LoadAnnotations, TRANSFORMS)
class StrictLoadAnnotations(LoadAnnotations):
    """Load a label map and check that it fits the image and the classes.

    Without the check a label map of another size fails inside a batch, and a label outside the
    classes ends a CUDA process with a device-side assertion; neither names the file.

    Args:
        num_classes (int, optional): Labels must be below it or 255, no class. Default: labels are
            not checked.
        *args: As for ``mmseg``'s ``LoadAnnotations``.
        **kwargs: As there.

    Raises:
        ValueError: If ``num_classes`` is not positive.
    """

    def __init__(self, *args, num_classes: int | None = None, **kwargs) -> None:
        if num_classes is not None and num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        super().__init__(*args, **kwargs)
        self.num_classes = num_classes

    def _load_seg_map(self, results: dict) -> None:
        if "seg_map_path" not in results:
            raise ValueError(
                f"image {results['img_path']} has no label map; set data_prefix.seg_map_path in "
                "its data set, or take LoadAnnotations out of the pipeline"
            )
        path, colors = results["seg_map_path"], results.get("label_colors")
        try:
            values = self._read(path, is_color=colors is not None)
        except (*UNREADABLE, Image.DecompressionBombError) as error:
            raise ValueError(
                f"label map {path} cannot be loaded: {reason(error)}. "
                "Restore the file, or take it and its image out of the data set"
            ) from error
        if colors is None and values.ndim != 2:
            raise ValueError(
                f"label map {path} has shape {values.shape}; it must have one channel with the "
                "class index of each pixel. If it is a colour picture of the labels, use "
                "FolderDataset with label_colors"
            )
        if self.reduce_zero_label is None:
            self.reduce_zero_label = results["reduce_zero_label"]
        labels = (
            labels_of_values(values, results, self.reduce_zero_label)
            if colors is None
            else labels_of_colors(values, results)
        )
        results["gt_seg_map"] = labels
        results["seg_fields"].append("gt_seg_map")
        # Pipelines that load only labels have no image to compare with.
        if "ori_shape" in results and labels.shape != tuple(results["ori_shape"]):
            raise ValueError(
                f"label map {path} is {_size(labels.shape)} and its image {results['img_path']} "
                f"is {_size(results['ori_shape'])} pixels (width x height)"
            )
        if self.num_classes is None:
            return
        counts = np.bincount(labels.ravel(), minlength=256)
        counts[: self.num_classes] = 0
        counts[IGNORE_INDEX] = 0
        outside = np.flatnonzero(counts)
        if outside.size:
            raise ValueError(
                f"label map {path} holds the value(s) {', '.join(map(str, outside))}, outside the "
                f"{self.num_classes} classes 0..{self.num_classes - 1} and "
                f"ignore_index={IGNORE_INDEX}. Correct the file, num_classes, or "
                "reduce_zero_label (True when the file counts classes from 1)"
            )

    def _read(self, path: str, is_color: bool) -> np.ndarray:
        """What the file holds: (H, W), or (H, W, 3) RGB for ``is_color``."""
        content = fileio.get(path, backend_args=self.backend_args)
        if is_color:
            with Image.open(io.BytesIO(content)) as picture:
                return np.asarray(picture.convert("RGB"))
        if path.lower().endswith(".npy"):
            values = np.load(io.BytesIO(content), allow_pickle=False)
        else:
            values = mmcv.imfrombytes(content, flag="unchanged", backend=self.imdecode_backend)
            if values is None:
                raise OSError(NO_IMAGE)
            if values.ndim == 3 and values.shape[2] == 2:
                values = values[..., :1]  # grey without its alpha
        return values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values


def labels_of_values(values: np.ndarray, results: dict, reduce_zero_label: bool) -> np.ndarray:
    """Class indices of a label map, in ``mmseg``'s order: ``reduce_zero_label``, ``label_map``.

    Args:
        values (np.ndarray): (H, W), as the file holds them, of any type; -1 is no class, too.
        results (dict): With ``seg_map_path`` and perhaps ``label_map``, value -> class index.
        reduce_zero_label (bool): Whether 0 is no class and the others count from 1.

    Returns:
        np.ndarray: (H, W), uint8.

    Raises:
        ValueError: If a value is no whole number or has no place in 0..255.
    """
    label_map = results.get("label_map") or {}

    def label_of(value: float) -> int:
        if reduce_zero_label and value != -1:
            value = IGNORE_INDEX if value in (0, IGNORE_INDEX) else value - 1
        label = IGNORE_INDEX if value == -1 else label_map.get(value, value)
        if label not in range(256):
            raise ValueError(
                f"label map {results['seg_map_path']} holds the value {value}, which is none of "
                "0..255. Save class indices as whole numbers, or name the value in label_values"
            )
        return int(label)

    if values.dtype in (np.bool_, np.uint8):
        found, index = range(256), values.astype(np.uint8)
    else:
        found, index = np.unique(values, return_inverse=True)
        found, index = found.tolist(), index.reshape(values.shape)
    return np.array([label_of(value) for value in found], dtype=np.uint8)[index]


def labels_of_colors(picture: np.ndarray, results: dict) -> np.ndarray:
    """Class indices of a colour picture of labels.

    Args:
        picture (np.ndarray): (H, W, 3), uint8, RGB.
        results (dict): With ``label_colors``, RGB -> class index, and ``seg_map_path``.

    Returns:
        np.ndarray: (H, W), uint8.

    Raises:
        ValueError: If a pixel has another colour; names the most frequent ones.
    """

    def key(color: np.ndarray) -> np.ndarray:
        return color.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)

    colors, inverse, counts = np.unique(key(picture), return_inverse=True, return_counts=True)
    known = {int(key(np.array(c))): label for c, label in results["label_colors"].items()}
    unknown = [
        (n, c) for c, n in zip(colors.tolist(), counts.tolist(), strict=True) if c not in known
    ]
    if unknown:
        some = [
            f"({c >> 16}, {c >> 8 & 255}, {c & 255}) in {n} pixels"
            for n, c in sorted(unknown, reverse=True)[:3]
        ]
        raise ValueError(
            f"label map {results['seg_map_path']} holds {len(unknown)} colours that are neither in "
            f"label_colors nor in void_colors: {', '.join(some)}{', ..' * (len(unknown) > 3)}. "
            "Add them, or restore the file (JPEG and resizing change colours)"
        )
    table = np.array([known[c] for c in colors.tolist()], dtype=np.uint8)
    return table[inverse].reshape(picture.shape[:2])


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
