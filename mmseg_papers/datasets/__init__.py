"""Data sets that ``mmseg`` lacks, sampling, transforms, and synthetic scenes."""

from .camvid import CamVidDataset
from .class_uniform import ClassUniformDataset, ClassUniformSampler
from .folder import FolderDataset
from .transforms import (
    AddRowPosition,
    CentroidCrop,
    ColorJitter,
    GaussianBlur,
    PackRowPosition,
    StrictLoadAnnotations,
    StrictLoadImageFromFile,
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
    "PackRowPosition",
    "StrictLoadAnnotations",
    "StrictLoadImageFromFile",
]
