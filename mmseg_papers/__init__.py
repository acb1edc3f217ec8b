"""Semantic-segmentation papers for MMSegmentation: importing registers every module."""

from .stack import installed_line

#: The OpenMMLab line this process runs on: ``'onedl'`` or ``'openmmlab'``.
LINE = installed_line()

from . import datasets, engine, models  # noqa: E402  (only after the check of the line)

__version__ = "0.1.0"

__all__ = ["LINE", "__version__", "datasets", "engine", "models"]
