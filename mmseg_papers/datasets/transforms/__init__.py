"""Transforms."""

from .centroid_crop import CentroidCrop
from .color import StrictPhotoMetricDistortion
from .color_jitter import ColorJitter, GaussianBlur
from .loading import StrictLoadAnnotations, StrictLoadImageFromFile
from .row_position import AddRowPosition, PackRowPosition

__all__ = [
    "AddRowPosition",
    "CentroidCrop",
    "ColorJitter",
    "GaussianBlur",
    "PackRowPosition",
    "StrictLoadAnnotations",
    "StrictLoadImageFromFile",
    "StrictPhotoMetricDistortion",
]
