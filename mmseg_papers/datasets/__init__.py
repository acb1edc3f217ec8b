"""Data sets that ``mmseg`` lacks, transforms that check their input, and synthetic scenes."""

from . import public  # noqa: F401  (registers the data sets that mmseg has)
from .camvid import CamVidDataset
from .class_uniform import ClassUniformDataset, ClassUniformSampler
from .folder import FolderDataset
from .nyudv2 import NYUDv2Dataset
from .person_part import PascalPersonPartDataset
from .seeded import SeededDataset, SeededSampler
from .sunrgbd import SUNRGBDDataset
from .transforms import (
    AddRowPosition,
    CentroidCrop,
    ColorJitter,
    GaussianBlur,
    PackRowPosition,
    RandomBrightness,
    RandomGaussianBlur,
    RandomRelativeResize,
    StrictLoadAnnotations,
    StrictLoadImageFromFile,
    StrictPhotoMetricDistortion,
)

__all__ = [
    "AddRowPosition",
    "CamVidDataset",
    "CentroidCrop",
    "ClassUniformDataset",
    "ClassUniformSampler",
    "ColorJitter",
    "FolderDataset",
    "GaussianBlur",
    "NYUDv2Dataset",
    "PackRowPosition",
    "PascalPersonPartDataset",
    "RandomBrightness",
    "RandomGaussianBlur",
    "RandomRelativeResize",
    "SUNRGBDDataset",
    "SeededDataset",
    "SeededSampler",
    "StrictLoadAnnotations",
    "StrictLoadImageFromFile",
    "StrictPhotoMetricDistortion",
]
