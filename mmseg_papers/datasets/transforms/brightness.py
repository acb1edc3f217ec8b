"""Brightness alone, where ``mmseg`` has it together with contrast, saturation and hue."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomBrightness(BaseTransform):
    """Add one random number to all pixels of an image (DenseASPP's augmentation).

    Args:
        delta (float): The number is drawn evenly from [-delta, delta], on the scale 0..255.
            Default: 10.

    Raises:
        ValueError: If ``delta`` is negative.
    """

    def __init__(self, delta: float = 10) -> None:
        if delta < 0:
            raise ValueError(f"delta must be at least 0, got {delta}")
        self.delta = delta

    @cache_randomness
    def _shift(self) -> float:
        return np.random.uniform(-self.delta, self.delta)

    def transform(self, results: dict) -> dict:
        """Shift ``results['img']``, clipped to 0..255, in its dtype."""
        image = results["img"]
        shifted = np.clip(image.astype(np.float32) + self._shift(), 0, 255)
        results["img"] = (shifted.round() if image.dtype == np.uint8 else shifted).astype(
            image.dtype
        )
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(delta={self.delta})"
