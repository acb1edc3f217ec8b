"""Loading that names the file when an image or its labels cannot be used.

Both transforms take the place of those that configs call ``LoadImageFromFile`` and
``LoadAnnotations`` under mmseg's scope: ``mmseg``'s inferencers find and replace the two by these
names, so a config cannot use others. What they return for sound files is the same to the bit.
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

#: Modes of Pillow whose colour pixels are OpenCV's, to the bit.
SAME_IN_PILLOW = ("RGB", "L", "P", "RGBA")
#: Files that may hold any number of channels.
BAND_SUFFIXES = (".npy", ".tif", ".tiff")
MOST_CHANNELS_OF_OPENCV = 4


@TRANSFORMS.register_module(name="LoadImageFromFile")
class StrictLoadImageFromFile(LoadImageFromFile):
    """Load an image; a file that is missing, unreadable or truncated is an error that names it.

    OpenCV decodes a truncated file without complaint and fills the rest with grey, so with the
    default backend Pillow reads the file: for its pixels where these are OpenCV's (8-bit images in
    colour), else only to see whether it is whole. NumPy files (H, W, C) and TIFF files with more
    than four channels, in one page or one a page, are loaded as they are; the latter need tifffile,
    since OpenCV does not read them. Arguments are those of ``mmcv``'s ``LoadImageFromFile``; images
    with other channels than BGR need ``color_type='unchanged'`` (or ``'grayscale'``).
    """

    def transform(self, results: dict) -> dict | None:
        """Load the image.

        Args:
            results (dict): With ``img_path``.

        Returns:
            dict | None: The same with ``img`` (H, W, 3), BGR, and its shapes; None for an
            unreadable file with ``ignore_empty``.

        Raises:
            ValueError: If the file cannot be read or decoded.
        """
        try:
            path, image = results["img_path"], None
            if path.lower().endswith(BAND_SUFFIXES):
                image = self._load_bands(path)
            if image is None:
                if self.imdecode_backend != "cv2" or self.file_client_args is not None:
                    return super().transform(results)
                image = self._decode(fileio.get(path, backend_args=self.backend_args))
        except (OSError, SyntaxError, AssertionError, ValueError, cv2.error) as error:
            # SyntaxError: Pillow's for a damaged PNG.
            if self.ignore_empty:
                return None
            raise ValueError(
                f"image {results['img_path']} cannot be loaded: {error}. "
                "Restore the file, or take it and its label map out of the data set"
            ) from error
        results["img"] = image.astype(np.float32) if self.to_float32 else image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def _load_bands(self, path: str) -> np.ndarray | None:
        """Load a NumPy file or a TIFF that OpenCV cannot read; None for another TIFF."""
        content = io.BytesIO(fileio.get(path, backend_args=self.backend_args))
        if path.lower().endswith(".npy"):
            return np.load(content, allow_pickle=False)
        with contextlib.suppress(UnidentifiedImageError), Image.open(content) as picture:
            pages = getattr(picture, "n_frames", 1)
            if pages == 1 and len(picture.getbands()) <= MOST_CHANNELS_OF_OPENCV:
                return None
        try:
            import tifffile
        except ImportError as error:
            raise OSError("a TIFF of this kind needs tifffile: pip install tifffile") from error
        content.seek(0)
        array = tifffile.imread(content)
        is_band_first = array.ndim == 3 and array.shape[0] < min(array.shape[1:])
        return array.transpose(1, 2, 0) if is_band_first else array

    def _decode(self, content: bytes) -> np.ndarray:
        backend = "cv2"
        try:
            with Image.open(io.BytesIO(content)) as picture:
                if self.color_type == "color" and picture.mode in SAME_IN_PILLOW:
                    backend = "pillow"
                else:
                    picture.load()
        except UnidentifiedImageError:
            pass  # a format that only OpenCV may know
        image = mmcv.imfrombytes(content, flag=self.color_type, backend=backend)
        if image is None:
            raise OSError("it is empty or no image")
        return image


@TRANSFORMS.register_module(name="LoadAnnotations", force=True)
class StrictLoadAnnotations(LoadAnnotations):
    """Load a label map and check that it fits the image and the classes.

    Without the check a label map of another size fails inside a batch, and a label outside the
    classes ends a CUDA process with a device-side assertion; neither names the file.

    Args:
        num_classes (int, optional): Labels must be below it or equal ``ignore_index``. Default:
            labels are not checked.
        ignore_index (int): Label of pixels without a class. Default: 255.
        *args: As for ``mmseg``'s ``LoadAnnotations``.
        **kwargs: As there.

    Raises:
        ValueError: If ``num_classes`` is not positive.
    """

    def __init__(
        self, *args, num_classes: int | None = None, ignore_index: int = 255, **kwargs
    ) -> None:
        if num_classes is not None and num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        super().__init__(*args, **kwargs)
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def _load_seg_map(self, results: dict) -> None:
        path = results["seg_map_path"]
        try:
            if results.get("label_colors") is not None or path.endswith(".npy"):
                self._load_other_label_map(results)
            else:
                super()._load_seg_map(results)
        except (OSError, SyntaxError) as error:
            raise ValueError(
                f"label map {path} cannot be loaded: {error}. "
                "Restore the file, or take it and its image out of the data set"
            ) from error
        labels = results["gt_seg_map"]
        if labels.ndim != 2:
            raise ValueError(
                f"label map {path} has shape {labels.shape}; it must have one channel with the "
                "class index of each pixel. If it is a colour picture of the labels, use "
                "FolderDataset with label_colors"
            )
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
        counts[self.ignore_index] = 0
        outside = np.flatnonzero(counts)
        if outside.size:
            raise ValueError(
                f"label map {path} holds the value(s) {', '.join(map(str, outside))}, outside the "
                f"{self.num_classes} classes 0..{self.num_classes - 1} and "
                f"ignore_index={self.ignore_index}. Correct the file, num_classes, or "
                "reduce_zero_label (True when the file counts classes from 1)"
            )

    def _load_other_label_map(self, results: dict) -> None:
        """Load what ``mmseg`` cannot: colour pictures and NumPy files."""
        path = results["seg_map_path"]
        content = io.BytesIO(fileio.get(path, backend_args=self.backend_args))
        if results.get("label_colors") is not None:
            with Image.open(content) as picture:
                labels = labels_of_colors(np.asarray(picture.convert("RGB")), results)
        else:
            values = np.load(content, allow_pickle=False)
            labels = np.full(values.shape, self.ignore_index, dtype=np.uint8)
            label_map = results.get("label_map") or {}
            shift = int(bool(results.get("reduce_zero_label")))
            for value in np.unique(values):
                label = label_map.get(int(value), int(value) - shift)
                if 0 <= label <= 255:
                    labels[values == value] = label
                elif label != -1:
                    raise ValueError(f"label map {path} holds the value {value}, beyond 0..255")
        results["gt_seg_map"] = labels
        results["seg_fields"].append("gt_seg_map")


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
