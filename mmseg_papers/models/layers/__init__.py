"""Building blocks that several models share."""

from .complete_loading import CompleteLoading
from .configurable import build_upsample, require_layer
from .dense_block import DenseBlock, DenseLayer, DenseTransition

__all__ = [
    "CompleteLoading",
    "DenseBlock",
    "DenseLayer",
    "DenseTransition",
    "build_upsample",
    "require_layer",
]
