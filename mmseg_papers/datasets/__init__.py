"""Data sets that ``mmseg`` lacks, transforms that check their input, and synthetic scenes."""

from .camvid import CamVidDataset
from .folder import FolderDataset
from .nyudv2 import NYUDv2Dataset
from .person_part import PascalPersonPartDataset
from .sunrgbd import SUNRGBDDataset
from .transforms import StrictLoadAnnotations, StrictLoadImageFromFile

__all__ = [
    "CamVidDataset",
    "FolderDataset",
    "NYUDv2Dataset",
    "PascalPersonPartDataset",
    "SUNRGBDDataset",
    "StrictLoadAnnotations",
    "StrictLoadImageFromFile",
]
