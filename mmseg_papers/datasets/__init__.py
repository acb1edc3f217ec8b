"""Data sets that ``mmseg`` lacks, transforms that check their input, and synthetic scenes."""

from .camvid import CamVidDataset
from .folder import FolderDataset
from .transforms import (
    RandomGaussianBlur,
    RandomRelativeResize,
    StrictLoadAnnotations,
    StrictLoadImageFromFile,
)

__all__ = [
    "CamVidDataset",
    "FolderDataset",
    "RandomGaussianBlur",
    "RandomRelativeResize",
    "StrictLoadAnnotations",
    "StrictLoadImageFromFile",
]
