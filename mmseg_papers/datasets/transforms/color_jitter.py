"""Colour jitter as HANet's training has it."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from .color import check_bgr

#: ITU-R 601 luma of blue, green and red.
LUMA = np.array([0.114, 0.587, 0.299], np.float32)


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Brightness, contrast, saturation and hue by random factors, in random order, always.

    Unlike ``PhotoMetricDistortion`` all four are applied to every image.

    Args:
        brightness (float): Factor from U(1 - b, 1 + b). Default: 0.25.
        contrast (float): As ``brightness``, around the mean luma. Default: 0.25.
        saturation (float): As ``brightness``, around each pixel's luma. Default: 0.25.
        hue (float): Turn from U(-h, h), in turns of the colour circle; at most 0.5. Default: 0.25.

    Raises:
        ValueError: If an option is outside its range.
    """

    def __init__(
        self,
        brightness: float = 0.25,
        contrast: float = 0.25,
        saturation: float = 0.25,
        hue: float = 0.25,
    ) -> None:
        super().__init__()
        options = dict(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
        for name, value in options.items():
            limit = 0.5 if name == "hue" else 1
            if not 0 <= value <= limit:
                raise ValueError(f"{name} must be in [0, {limit}], got {value}")
        self.options = options

    def transform(self, results: dict) -> dict:
        """Jitter the colours.

        Args:
            results (dict): With ``img``, (H, W, 3), uint8, BGR.

        Returns:
            dict: The same with another ``img``.

        Raises:
            ValueError: If the image has another number of channels.
        """
        check_bgr(results, "ColorJitter")
        image = results["img"]
        for name in np.random.permutation(list(self.options)):
            amount = np.random.uniform(-self.options[name], self.options[name])
            image = _turn_hue(image, amount) if name == "hue" else _blend(image, name, 1 + amount)
        results["img"] = image
        return results


def _blend(image: np.ndarray, name: str, factor: float) -> np.ndarray:
    """Move an image from a grey one, or black, by a factor."""
    if name == "brightness":
        grey = 0.0
    else:
        luma = image @ LUMA
        grey = np.round(luma.mean()) if name == "contrast" else luma[..., None]
    return np.clip(grey + factor * (image - np.float32(grey)), 0, 255).astype(np.uint8)


def _turn_hue(image: np.ndarray, turns: float) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)
    hsv[..., 0] += np.uint8(int(turns * 256) % 256)  # wraps around
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)
