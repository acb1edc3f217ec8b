"""Label maps of images: NumPy in, NumPy out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.runner import load_checkpoint
from mmseg.apis import init_model
from mmseg.registry import DATASETS
from torch import nn

from ..models.segmentors.fused_encoder_decoder import FusedSegmentorMixin


@dataclass
class Prediction:
    """What a model sees in one image."""

    #: Class indices, (H, W), uint8 (int64 from 256 classes on).
    labels: np.ndarray
    #: Probability of the class that was chosen, (H, W), float32; None where the model is not one
    #: of this package's segmentors.
    confidence: np.ndarray | None
    classes: Sequence[str]
    #: RGB of each class.
    palette: Sequence[Sequence[int]]

    def overlay(self, image: np.ndarray, opacity: float = 0.5) -> np.ndarray:
        """Lay the classes' colours over the image.

        Args:
            image (np.ndarray): (H, W, 3), uint8, BGR as OpenCV reads it.
            opacity (float): Of the colours, 0 to 1. Default: 0.5.

        Returns:
            np.ndarray: (H, W, 3), uint8, BGR.
        """
        table = np.asarray(self.palette, dtype=np.float32)[:, ::-1]
        mixed = (1 - opacity) * image + opacity * table[self.labels]
        return mixed.round().astype(np.uint8)

    def table(self) -> list[dict]:
        """The classes that occur, the largest first.

        Returns:
            list[dict]: ``index``, ``class``, ``pixels``, ``share`` (0 to 1) and, where there is a
            confidence, its mean over the class's pixels as ``confidence``.
        """
        pixels = np.bincount(self.labels.ravel(), minlength=len(self.classes))
        rows = []
        for i in np.argsort(-pixels, kind="stable"):
            if pixels[i] == 0:
                break
            row = {
                "index": int(i),
                "class": self.classes[i],
                "pixels": int(pixels[i]),
                "share": float(pixels[i] / self.labels.size),
            }
            if self.confidence is not None:
                row["confidence"] = float(self.confidence[self.labels == i].mean())
            rows.append(row)
        return rows


class Predictor:
    """A model that takes images as arrays.

    Args:
        config (str | Path | Config): A config of MMSegmentation.
        checkpoint (str | Path, optional): Its weights. Default: random ones, with a warning.
        device (str, optional): Default: the GPU if there is one.

    Raises:
        FileNotFoundError: If ``checkpoint`` does not exist.
        ValueError: If model and data set have different numbers of classes.

    Example:
        >>> predictor = Predictor("config.py", "iter_20000.pth")
        >>> prediction = predictor(cv2.imread("street.jpg"))
        >>> prediction.labels.shape, prediction.table()[0]["class"]
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        device: str | None = None,
    ) -> None:
        if not isinstance(config, Config):
            config = Config.fromfile(config)
        if checkpoint is None:
            warnings.warn("no checkpoint: the model's weights are random", stacklevel=2)
        elif "://" not in str(checkpoint) and not Path(checkpoint).is_file():
            raise FileNotFoundError(f"checkpoint {checkpoint} does not exist")
        self.model = init_model(
            config, device=device or ("cuda" if torch.cuda.is_available() else "cpu")
        )
        meta = None
        if checkpoint is not None:
            loaded = load_checkpoint(self.model, str(checkpoint), map_location="cpu")
            meta = loaded.get("meta", {}).get("dataset_meta")
        if isinstance(self.model, FusedSegmentorMixin):
            self.model.test_cfg["keep"] = "confidence"
        dataset = config.test_dataloader.dataset
        self.classes, self.palette = names_and_colors(meta or dataset_meta(dataset))
        head = self.model.decode_head
        num_classes = (head[-1] if isinstance(head, nn.ModuleList) else head).num_classes
        if len(self.classes) != num_classes:
            raise ValueError(
                f"the model has {num_classes} classes and its data set {len(self.classes)}; set "
                "num_classes of the heads, or the data set, to what the checkpoint was trained with"
            )
        load, *steps = dataset.pipeline
        self.pipeline = Compose(
            [
                dict(type="LoadImageFromNDArray", to_float32=load.get("to_float32", False)),
                *(step for step in steps if step["type"] != "LoadAnnotations"),
            ]
        )

    def __call__(self, image: np.ndarray) -> Prediction:
        """Predict one image.

        Args:
            image (np.ndarray): (H, W, C), BGR for C = 3; or (H, W).

        Returns:
            Prediction: At the image's size.

        Raises:
            ValueError: If the array is no image.
        """
        return next(self.batch([image]))

    def batch(self, images: Sequence[np.ndarray]) -> Iterator[Prediction]:
        """Predict images together; those of different sizes one size after another.

        Args:
            images (Sequence[np.ndarray]): As for a single one.

        Yields:
            Prediction: Of each image, in their order.

        Raises:
            ValueError: If an array is no image.
        """
        for image in images:
            if image is None or image.ndim not in (2, 3) or 0 in image.shape:
                got = None if image is None else image.shape
                raise ValueError(f"image must be an array (H, W, C) or (H, W), got {got}")
        data = pseudo_collate([self.pipeline(dict(img=image)) for image in images])
        with torch.no_grad():
            samples = self.model.test_step(data)
        for sample in samples:
            labels = sample.pred_sem_seg.data[0].cpu().numpy()
            if len(self.classes) <= 256:
                labels = labels.astype(np.uint8)
            confidence = None
            if "seg_confidence" in sample:
                confidence = sample.seg_confidence.data[0].float().cpu().numpy()
            yield Prediction(labels, confidence, self.classes, self.palette)


def dataset_meta(dataset: ConfigDict) -> dict:
    """Class names, and colours if there are any, of a config's data set, without its files.

    Args:
        dataset (ConfigDict): Of a data loader; may wrap others.

    Returns:
        dict: ``classes`` and perhaps ``palette``.
    """
    while "dataset" in dataset or "datasets" in dataset:
        dataset = dataset["dataset"] if "dataset" in dataset else dataset["datasets"][0]
    own = {key: dataset[key] for key in ("classes", "palette") if dataset.get(key) is not None}
    if dataset.get("label_colors") is not None:
        own.setdefault("palette", dataset["label_colors"])
    return {**DATASETS.get(dataset["type"]).METAINFO, **(dataset.get("metainfo") or {}), **own}


def names_and_colors(meta: dict) -> tuple[tuple[str, ...], list[list[int]]]:
    """Class names and one RGB each; where ``meta`` has no colours, those that ``mmseg`` draws."""
    classes = tuple(meta["classes"])
    palette = meta.get("palette")
    if palette is None or len(palette) != len(classes):
        palette = np.random.RandomState(42).randint(0, 255, (len(classes), 3))
    return classes, np.asarray(palette).tolist()
