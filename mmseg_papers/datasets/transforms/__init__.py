"""Transforms."""

from .brightness import RandomBrightness
from .color import StrictPhotoMetricDistortion
from .loading import StrictLoadAnnotations, StrictLoadImageFromFile

__all__ = [
    "RandomBrightness",
    "StrictLoadAnnotations",
    "StrictLoadImageFromFile",
    "StrictPhotoMetricDistortion",
]
