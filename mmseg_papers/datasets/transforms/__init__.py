"""Transforms."""

from .color import StrictPhotoMetricDistortion
from .loading import StrictLoadAnnotations, StrictLoadImageFromFile
from .random_gaussian_blur import RandomGaussianBlur
from .random_relative_resize import RandomRelativeResize

__all__ = [
    "RandomGaussianBlur",
    "RandomRelativeResize",
    "StrictLoadAnnotations",
    "StrictLoadImageFromFile",
    "StrictPhotoMetricDistortion",
]
