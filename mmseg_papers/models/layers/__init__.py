"""Building blocks that several models share."""

from .complete_loading import CompleteLoading

__all__ = ["CompleteLoading"]
