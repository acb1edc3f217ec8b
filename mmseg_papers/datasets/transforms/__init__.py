"""Transforms."""

from .brightness import RandomBrightness
from .centroid_crop import CentroidCrop
from .color import StrictPhotoMetricDistortion
from .color_jitter import ColorJitter, GaussianBlur
from .loading import StrictLoadAnnotations, StrictLoadImageFromFile
from .random_gaussian_blur import RandomGaussianBlur
from .random_relative_resize import RandomRelativeResize
from .row_position import AddRowPosition, PackRowPosition

__all__ = [
    "AddRowPosition",
    "CentroidCrop",
    "ColorJitter",
    "GaussianBlur",
    "PackRowPosition",
    "RandomBrightness",
    "RandomGaussianBlur",
    "RandomRelativeResize",
    "StrictLoadAnnotations",
    "StrictLoadImageFromFile",
    "StrictPhotoMetricDistortion",
]
