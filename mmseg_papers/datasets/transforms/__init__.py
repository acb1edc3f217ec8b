"""Transforms."""

from .loading import StrictLoadAnnotations, StrictLoadImageFromFile

__all__ = ["StrictLoadAnnotations", "StrictLoadImageFromFile"]
