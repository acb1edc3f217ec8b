"""Colour augmentation that says what it needs."""

from __future__ import annotations

from mmseg.datasets.transforms import PhotoMetricDistortion
from mmseg.registry import TRANSFORMS

from ..replacing import replaces


@replaces(PhotoMetricDistortion, TRANSFORMS)
class StrictPhotoMetricDistortion(PhotoMetricDistortion):
    """``mmseg``'s ``PhotoMetricDistortion``; an image without three channels is refused by name.

    OpenCV's own error in a worker process names neither the step nor the image.
    """

    def transform(self, results: dict) -> dict:
        """Distort the colours.

        Args:
            results (dict): With ``img``, (H, W, 3), uint8 or float32.

        Returns:
            dict: The same.

        Raises:
            ValueError: If the image has another number of channels.
        """
        check_bgr(results, "PhotoMetricDistortion")
        return super().transform(results)


def check_bgr(results: dict, step: str) -> None:
    """Refuse an image without three channels.

    Args:
        results (dict): With ``img``.
        step (str): What needs them, for the error.

    Raises:
        ValueError: If the image has another number of channels.
    """
    image = results["img"]
    channels = image.shape[2] if image.ndim == 3 else 1
    if channels != 3:
        raise ValueError(
            f"{step} needs BGR images, but {results.get('img_path', 'one')} has {channels} "
            "channel(s); take it out of the training pipeline"
        )
