"""Blurring of images: always by a random width, or by chance."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class GaussianBlur(BaseTransform):
    """Blur every image by a Gaussian of random width.

    Args:
        sigma (tuple[float, float]): Range of its standard deviation, in pixels.
            Default: (0.15, 1.3).

    Raises:
        ValueError: If the range is empty or not positive.
    """

    def __init__(self, sigma: tuple[float, float] = (0.15, 1.3)) -> None:
        super().__init__()
        if not 0 < sigma[0] <= sigma[1]:
            raise ValueError(f"sigma must be a range above 0, got {tuple(sigma)}")
        self.sigma = tuple(sigma)

    def transform(self, results: dict) -> dict:
        """Blur.

        Args:
            results (dict): With ``img``.

        Returns:
            dict: The same with another ``img``.
        """
        sigma = np.random.uniform(*self.sigma)
        results["img"] = cv2.GaussianBlur(results["img"], (0, 0), sigma)
        return results


@TRANSFORMS.register_module()
class RandomGaussianBlur(BaseTransform):
    """Blur the image with a Gaussian kernel; its width follows from its size as in OpenCV.

    Args:
        prob (float): Probability of blurring. Default: 0.5.
        kernel_size (int): Odd. Default: 5.

    Raises:
        ValueError: If ``prob`` is no probability or ``kernel_size`` is even.
    """

    def __init__(self, prob: float = 0.5, kernel_size: int = 5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must be in [0, 1], got {prob}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.prob = prob
        self.kernel_size = kernel_size

    @cache_randomness
    def _blurs(self) -> bool:
        return np.random.rand() < self.prob

    def transform(self, results: dict) -> dict:
        """Blur, or do nothing.

        Args:
            results (dict): With ``img``.

        Returns:
            dict: The same.
        """
        if self._blurs():
            results["img"] = cv2.GaussianBlur(results["img"], (self.kernel_size,) * 2, 0)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(prob={self.prob}, kernel_size={self.kernel_size})"
