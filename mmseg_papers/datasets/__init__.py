"""Data sets that ``mmseg`` lacks, transforms that check their input, and synthetic scenes."""

from .camvid import CamVidDataset
from .nyudv2 import NYUDv2Dataset
from .person_part import PascalPersonPartDataset
from .sunrgbd import SUNRGBDDataset
from .transforms import StrictLoadAnnotations, StrictLoadImageFromFile

__all__ = [
    "CamVidDataset",
    "NYUDv2Dataset",
    "PascalPersonPartDataset",
    "SUNRGBDDataset",
    "StrictLoadAnnotations",
    "StrictLoadImageFromFile",
]
