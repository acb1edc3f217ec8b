"""Loading that names the file when an image or its labels cannot be used.

Both transforms take the place of those that configs call ``LoadImageFromFile`` and
``LoadAnnotations`` under mmseg's scope: ``mmseg``'s inferencers find and replace the two by these
names, so a config cannot use others. What they return for sound files is the same to the bit.
"""

from __future__ import annotations

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module(name="LoadImageFromFile")
class StrictLoadImageFromFile(LoadImageFromFile):
    """Load an image; a file that is missing, unreadable or truncated is an error that names it.

    OpenCV decodes a truncated JPEG without complaint and fills the rest with grey, so this decodes
    with Pillow, whose pixels are the same.

    Args:
        imdecode_backend (str): As for ``mmcv``'s ``LoadImageFromFile``. Default: ``'pillow'``.
        **kwargs: As for ``mmcv``'s ``LoadImageFromFile``.
    """

    def __init__(self, imdecode_backend: str = "pillow", **kwargs) -> None:
        super().__init__(imdecode_backend=imdecode_backend, **kwargs)

    def transform(self, results: dict) -> dict | None:
        """Load the image.

        Args:
            results (dict): With ``img_path``.

        Returns:
            dict | None: The same with ``img`` (H, W, 3), uint8, BGR, and its shapes; None for an
            unreadable file with ``ignore_empty``.

        Raises:
            ValueError: If the file cannot be read or decoded.
        """
        try:
            return super().transform(results)
        except (OSError, SyntaxError, AssertionError) as error:  # Pillow: SyntaxError for bad PNG
            raise ValueError(
                f"image {results['img_path']} cannot be loaded: {error}. "
                "Restore the file, or take it and its label map out of the data set"
            ) from error


@TRANSFORMS.register_module(name="LoadAnnotations", force=True)
class StrictLoadAnnotations(LoadAnnotations):
    """Load a label map and check that it fits the image and the classes.

    Without the check a label map of another size fails inside a batch, and a label outside the
    classes ends a CUDA process with a device-side assertion; neither names the file.

    Args:
        num_classes (int, optional): Labels must be below it or equal ``ignore_index``. Default:
            labels are not checked.
        ignore_index (int): Label of pixels without a class. Default: 255.
        *args, **kwargs: As for ``mmseg``'s ``LoadAnnotations``.

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
                "class index of each pixel (a colour picture of the labels is no label map)"
            )
        if labels.shape != tuple(results["ori_shape"]):
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


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
