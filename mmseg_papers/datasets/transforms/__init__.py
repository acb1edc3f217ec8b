"""Transforms."""

from .brightness import RandomBrightness
from .centroid_crop import CentroidCrop
from .color import StrictPhotoMetricDistortion
from .color_jitter import ColorJitter
from .gaussian_blur import GaussianBlur, RandomGaussianBlur
from .loading import StrictLoadAnnotations, StrictLoadImageFromFile
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
