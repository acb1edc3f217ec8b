"""Resizing by a random factor of the image's own size."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.datasets.transforms import Resize
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomRelativeResize(BaseTransform):
    """Resize an image and its labels by one factor, uniform in a range.

    ``RandomResize`` multiplies one ``scale`` for all images, so that images of a data set become
    equally large first. The code of PSPNet, and of SPNet after it, keeps their own sizes, and so
    does that of Light-Weight RefineNet.

    Args:
        ratio_range (tuple[float, float]): Smallest and largest factor.
        min_short_side (int): Where the drawn factor would leave a shorter short side, the factor is
            the one that gives this. Default: 0.

    Raises:
        ValueError: If the range is empty or not positive, or ``min_short_side`` is negative.
    """

    def __init__(self, ratio_range: tuple[float, float], min_short_side: int = 0) -> None:
        low, high = ratio_range
        if not 0 < low <= high:
            raise ValueError(f"ratio_range must be 0 < low <= high, got {tuple(ratio_range)}")
        if min_short_side < 0:
            raise ValueError(f"min_short_side must not be negative, got {min_short_side}")
        self.ratio_range = low, high
        self.min_short_side = min_short_side

    @cache_randomness
    def _ratio(self) -> float:
        return float(np.random.uniform(*self.ratio_range))

    def transform(self, results: dict) -> dict:
        """Resize.

        Args:
            results (dict): With ``img`` and perhaps maps that ``seg_fields`` names.

        Returns:
            dict: As of ``mmseg``'s ``Resize``.
        """
        ratio = max(self._ratio(), self.min_short_side / min(results["img"].shape[:2]))
        return Resize(scale_factor=ratio, keep_ratio=True).transform(results)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(ratio_range={self.ratio_range}, "
            f"min_short_side={self.min_short_side})"
        )
