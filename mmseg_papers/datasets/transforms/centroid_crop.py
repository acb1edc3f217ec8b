"""A crop around the centre of a class."""

from __future__ import annotations

import cv2
import numpy as np
from mmseg.datasets.transforms import RandomCrop
from mmseg.registry import TRANSFORMS

from ...models.layers.height_attention import PADDING
from .row_position import KEY as ROW_POSITION


@TRANSFORMS.register_module()
class CentroidCrop(RandomCrop):
    """Random crop that holds ``crop_centroid``, if the results have one (HANet's training).

    :class:`mmseg_papers.datasets.ClassUniformDataset` gives the centroid, in pixels of the loaded
    image; the steps before may resize it and flip it once. An image smaller than the crop is padded
    at both ends first, with black, labels with ``ignore_index``. Arguments are those of ``mmseg``'s
    ``RandomCrop``.
    """

    def transform(self, results: dict) -> dict:
        """Pad and crop.

        Args:
            results (dict): With ``img``, and for ``crop_centroid`` with ``ori_shape`` and what
                ``RandomFlip`` did.

        Returns:
            dict: The same, ``img`` and ``seg_fields`` of size ``crop_size``.
        """
        if "crop_centroid" in results:
            x, y = _current_place(results)
        sizes = zip(results["img"].shape[:2], self.crop_size, strict=True)
        # As in the authors' code, which then crops the one or two rows too many.
        top, left = ((crop - size) // 2 + 1 if size < crop else 0 for size, crop in sizes)
        if top or left:
            results["img"] = _pad(results["img"], top, left, 0)
            for key in results.get("seg_fields", []):
                value = PADDING if key == ROW_POSITION else self.ignore_index
                results[key] = _pad(results[key], top, left, value)
        if "crop_centroid" in results:
            results["crop_centroid"] = (x + left, y + top)
        return super().transform(results)

    def crop_bbox(self, results: dict) -> tuple[int, int, int, int]:
        """Rows and columns of the crop.

        Args:
            results (dict): With ``img``, and perhaps ``crop_centroid`` in its pixels.

        Returns:
            tuple[int, int, int, int]: Top, bottom, left, right.
        """
        if "crop_centroid" not in results:
            return super().crop_bbox(results)
        spans = []
        centre = results["crop_centroid"][::-1]
        for size, crop, at in zip(results["img"].shape[:2], self.crop_size, centre, strict=True):
            # The authors' range begins one earlier, where the crop ends before the centroid.
            start = int(np.clip(np.random.randint(at - crop + 1, at + 1), 0, size - crop))
            spans += [start, start + crop]
        return tuple(spans)


def _current_place(results: dict) -> tuple[int, int]:
    """The centroid (x, y) in the image as it is after resizing and flipping."""
    size = results["img"].shape[:2]
    if "pad_shape" in results:  # the size is not that of the resizing
        scale = results.get("scale_factor", (1.0, 1.0))[::-1]
    else:
        scale = [now / before for now, before in zip(size, results["ori_shape"], strict=True)]
    x, y = results["crop_centroid"]
    x, y = int(x * scale[1]), int(y * scale[0])
    direction = results["flip_direction"] if results.get("flip") else None
    if direction in ("horizontal", "diagonal"):
        x = size[1] - 1 - x
    if direction in ("vertical", "diagonal"):
        y = size[0] - 1 - y
    return x, y


def _pad(x: np.ndarray, top: int, left: int, value: int) -> np.ndarray:
    return cv2.copyMakeBorder(x, top, top, left, left, cv2.BORDER_CONSTANT, value=(value,) * 4)
