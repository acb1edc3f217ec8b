"""Data sets that ``mmseg`` lacks, transforms that check their input, and synthetic scenes."""

from .camvid import CamVidDataset
from .transforms import (
    RandomGaussianBlur,
    RandomRelativeResize,
    StrictLoadAnnotations,
    StrictLoadImageFromFile,
)

__all__ = [
    "CamVidDataset",
    "RandomGaussianBlur",
    "RandomRelativeResize",
    "StrictLoadAnnotations",
    "StrictLoadImageFromFile",
]
