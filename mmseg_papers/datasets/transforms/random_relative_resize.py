"""Resizing by a random factor of the image's own size."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform, Resize
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomRelativeResize(BaseTransform):
    """Resize an image and its labels by one factor, uniform in a range.

    ``RandomResize`` multiplies one ``scale`` for all images, so that images of a data set become
    equally large first. The code of PSPNet, and of SPNet after it, keeps their own sizes.

    Args:
        ratio_range (tuple[float, float]): Smallest and largest factor.

    Raises:
        ValueError: If the range is empty or not positive.
    """

    def __init__(self, ratio_range: tuple[float, float]) -> None:
        low, high = ratio_range
        if not 0 < low <= high:
            raise ValueError(f"ratio_range must be 0 < low <= high, got {tuple(ratio_range)}")
        self.ratio_range = low, high

    @cache_randomness
    def _ratio(self) -> float:
        return float(np.random.uniform(*self.ratio_range))

    def transform(self, results: dict) -> dict:
        """Resize.

        Args:
            results (dict): With ``img`` and perhaps ``gt_seg_map``.

        Returns:
            dict: As of mmcv's ``Resize``.
        """
        return Resize(scale_factor=self._ratio(), keep_ratio=True).transform(results)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(ratio_range={self.ratio_range})"
