"""Asking a model from Python: images in, label maps out, without a runner."""

from .huge_image import predict_huge_image
from .predict_files import find_files, predict_files
from .predictor import Prediction, Predictor, load_model

__all__ = [
    "Prediction",
    "Predictor",
    "find_files",
    "load_model",
    "predict_files",
    "predict_huge_image",
]
