"""Asking from Python, without a runner: what there is, models by name, label maps of images."""

from .complexity import multiply_adds
from .crop_size import with_crop_size
from .huge_image import predict_huge_image
from .own_data import on_own_data
from .predict_files import find_files, predict_files
from .predictor import Prediction, Predictor, load_model
from .zoo import Entry, Paper, build_model, download, entries, entry, papers

__all__ = [
    "Entry",
    "Paper",
    "Prediction",
    "Predictor",
    "build_model",
    "download",
    "entries",
    "entry",
    "find_files",
    "load_model",
    "multiply_adds",
    "on_own_data",
    "papers",
    "predict_files",
    "predict_huge_image",
    "with_crop_size",
]
