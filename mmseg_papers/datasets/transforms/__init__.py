"""Transforms."""

from .color import StrictPhotoMetricDistortion
from .loading import StrictLoadAnnotations, StrictLoadImageFromFile

__all__ = ["StrictLoadAnnotations", "StrictLoadImageFromFile", "StrictPhotoMetricDistortion"]
