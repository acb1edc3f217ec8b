"""Pictures of images with any channels and values."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor


def picture_of(image: Tensor, bands: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Three channels of an image as a picture.

    Args:
        image (Tensor): (C, H, W), any values; those that are not uint8 are spread over 0..255.
        bands (Sequence[int]): Channels drawn as red, green and blue; of fewer than three channels
            the first one is all of them.
        size (tuple[int, int]): Height and width of the picture.

    Returns:
        np.ndarray: (height, width, 3), uint8, RGB.

    Raises:
        ValueError: If ``bands`` names a channel that the image lacks.
    """
    if image.shape[0] < 3:
        bands = (0, 0, 0)
    if not all(0 <= band < image.shape[0] for band in bands):
        raise ValueError(
            f"bands must name channels of the images, 0 to {image.shape[0] - 1}, got {tuple(bands)}"
        )
    chosen = image[list(bands)].permute(1, 2, 0).cpu()
    if chosen.dtype != torch.uint8:
        chosen = chosen.float()  # uint16 has no minimum
        low, high = chosen.min(), chosen.max()
        chosen = ((chosen - low) / (high - low).clamp(min=1e-12) * 255).round()
    return cv2.resize(chosen.to(torch.uint8).contiguous().numpy(), tuple(size[::-1]))


def picture_of_array(image: np.ndarray, bands: Sequence[int] = (2, 1, 0)) -> np.ndarray:
    """Three channels of a loaded image as a picture.

    Args:
        image (np.ndarray): (H, W, C) or (H, W), any values, as for :func:`picture_of`.
        bands (Sequence[int]): As for :func:`picture_of`. Default: (2, 1, 0), for images as OpenCV
            reads them.

    Returns:
        np.ndarray: (H, W, 3), uint8, RGB.

    Raises:
        ValueError: If ``bands`` names a channel that the image lacks.
    """
    image = np.atleast_3d(image)
    with np.errstate(invalid="ignore"):
        whole = image.astype(np.uint8)
    if image.dtype.kind == "f" and np.array_equal(image, whole):
        image = whole  # of to_float32=True
    if image.dtype != np.uint8:
        image = image.astype(np.float32)  # PyTorch lacks some of NumPy's types
    channels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return picture_of(channels, bands, image.shape[:2])
