"""Label maps of images: NumPy in, NumPy out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmseg.apis import init_model
from mmseg.registry import DATASETS, TRANSFORMS
from torch import nn

from ..checkpoints.files import read_checkpoint
from ..datasets.transforms.loading import check_image, resizable
from ..models.layers.complete_loading import load_whole
from ..models.option_errors import naming_options, near_names
from ..models.segmentors.fused_encoder_decoder import FusedSegmentorMixin, last_head
from ..pictures import picture_of_array
from .configs import require_parts, resolved_config, transform_name


@dataclass(eq=False)
class Prediction:
    """What a model sees in one image."""

    #: Class indices, (H, W), uint8 (uint16 for more than 256 classes).
    labels: np.ndarray
    #: Probability of the class that was chosen, (H, W), float32; None where the model is not one
    #: of this package's segmentors.
    confidence: np.ndarray | None
    classes: Sequence[str]
    #: RGB of each class.
    palette: Sequence[Sequence[int]]

    def overlay(
        self, image: np.ndarray, opacity: float = 0.5, bands: Sequence[int] = (2, 1, 0)
    ) -> np.ndarray:
        """Lay the classes' colours over the image.

        Args:
            image (np.ndarray): What was predicted, (H, W, C) or (H, W). Values that are not uint8
                are spread over 0 to 255.
            opacity (float): Of the colours, 0 to 1. Default: 0.5.
            bands (Sequence[int]): Channels drawn as red, green and blue; of fewer than three
                channels the first one is all of them. Default: (2, 1, 0), for images as OpenCV
                reads them.

        Returns:
            np.ndarray: (H, W, 3), uint8, BGR.

        Raises:
            ValueError: If ``opacity`` is outside 0 to 1, the image has another size, or ``bands``
                names a channel that it lacks.
        """
        check_opacity(opacity)
        if image.shape[:2] != self.labels.shape:
            raise ValueError(
                f"the image must have the size of its label map, (H, W) = {self.labels.shape}, "
                f"got shape {image.shape}"
            )
        picture = picture_of_array(image, bands)
        table = np.asarray(self.palette, dtype=np.float32)
        mixed = (1 - opacity) * picture + opacity * table[self.labels]
        return np.ascontiguousarray(mixed[..., ::-1]).round().astype(np.uint8)

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


def check_opacity(opacity: float) -> None:
    """Refuse an opacity that is no share.

    Args:
        opacity (float): Of an overlay's colours.

    Raises:
        ValueError: If it is outside 0 to 1.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be in [0, 1], got {opacity}")


class Predictor:
    """A model that takes images as arrays.

    Args:
        config (str | Path | Config): A config of MMSegmentation, or a packaged config's name.
        checkpoint (str | Path, optional): Its weights. Default: random ones, with a warning.
        device (str | int | torch.device, optional): Default: the GPU if there is one.

    Raises:
        OSError: If ``checkpoint`` is missing or damaged.
        ValueError: If the config, the checkpoint or the device cannot be used, or the checkpoint
            does not fit the config.
        ImportError: If the model or ``checkpoint`` needs a library that is not installed.

    Example:
        >>> predictor = Predictor("config.py", "iter_20000.pth")
        >>> prediction = predictor(cv2.imread("street.jpg"))
        >>> prediction.labels.shape, prediction.table()[0]["class"]
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        device: str | int | torch.device | None = None,
    ) -> None:
        config = resolved_config(config)
        if checkpoint is None:
            warnings.warn("no checkpoint: the model's weights are random", stacklevel=2)
        require_parts(config, "model", "test_dataloader")
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = load_model(config, checkpoint, device)
        if isinstance(self.model, FusedSegmentorMixin):
            self.model.test_cfg["keep"] = "confidence"
        dataset = inner_dataset(config.test_dataloader.dataset)
        self.classes, self.palette = names_and_colors(self.model.dataset_meta)
        head = last_head(self.model)
        num_classes = head.num_classes
        if len(self.classes) != num_classes:
            raise ValueError(
                f"the model has {num_classes} classes and its data set {len(self.classes)}; set "
                "num_classes of the heads, or the data set, to what the checkpoint was trained with"
            )
        if not dataset.get("pipeline"):
            raise ValueError("test_dataloader.dataset.pipeline must load and pack images, is empty")
        # A void class may win, though no data set has it.
        void = max(getattr(head, "out_channels", 0) - num_classes, 0)
        self.classes = (*self.classes, *["void"] * void)
        self.palette = [*self.palette, *[[0, 0, 0]] * void]
        self.label_type = np.min_scalar_type(len(self.classes) - 1)
        load, *steps = dataset.pipeline
        with naming_options(dict(pipeline=dataset.pipeline), "test_dataloader.dataset"):
            self.load = TRANSFORMS.build(load)
            self.pipeline = Compose(
                [
                    dict(type="LoadImageFromNDArray", to_float32=load.get("to_float32", False)),
                    *(step for step in steps if transform_name(step) != "LoadAnnotations"),
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

    def check(self, image: np.ndarray) -> None:
        """Refuse what the model was not made for.

        Args:
            image (np.ndarray): As for :meth:`__call__`.

        Raises:
            ValueError: If it is no array of finite numbers, or has other channels.
        """
        check_image(image)
        mean = getattr(self.model.data_preprocessor, "mean", None)
        channels = image.shape[2] if image.ndim == 3 else 1
        # One channel is repeated for a model of several.
        if mean is not None and channels not in (1, len(mean)):
            raise ValueError(f"the model takes {len(mean)} channels, the image has {channels}")

    def batch(self, images: Iterable[np.ndarray]) -> Iterator[Prediction]:
        """Predict images together; those of different sizes one size after another.

        Args:
            images (Iterable[np.ndarray]): As for a single one; also an array (N, H, W, C).

        Yields:
            Prediction: Of each image, in their order.

        Raises:
            ValueError: If an array is no image, or ``images`` is a single one.
        """
        if isinstance(images, np.ndarray) and images.ndim != 4:
            raise ValueError(f"an array of images must be (N, H, W, C), got shape {images.shape}")
        images = list(images)
        for image in images:
            self.check(image)
        if not images:
            return
        data = pseudo_collate([self.pipeline(dict(img=resizable(image))) for image in images])
        with torch.no_grad():
            samples = self.model.test_step(data)
        for sample in samples:
            labels = sample.pred_sem_seg.data[0].cpu().numpy().astype(self.label_type)
            confidence = None
            if "seg_confidence" in sample:
                confidence = sample.seg_confidence.data[0].float().cpu().numpy()
            yield Prediction(labels, confidence, self.classes, self.palette)


def load_model(
    config: str | Path | Config,
    checkpoint: str | Path | None,
    device: str | int | torch.device,
) -> nn.Module:
    """Build a config's model and load its weights, whole or not at all.

    Args:
        config (str | Path | Config): A config of MMSegmentation, or a packaged config's name.
        checkpoint (str | Path, optional): Its weights; None for random ones.
        device (str | int | torch.device): Where to.

    Returns:
        nn.Module: In evaluation mode, with ``cfg`` and ``dataset_meta``, of the file or else of the
        config's test data if it has any.

    Raises:
        OSError: If ``checkpoint`` is missing or damaged.
        ValueError: If config, checkpoint or device cannot be used, or they do not fit each other.
        ImportError: If the model or ``checkpoint`` needs a library that is not installed.
    """
    config = resolved_config(config)
    require_parts(config, "model")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used: {error}") from error
    loaded = {} if checkpoint is None else read_checkpoint(str(checkpoint))
    with naming_options(config._cfg_dict, ""):
        model = init_model(config, device=device)
    if checkpoint is not None:
        # What only training needs, and the file, a published one, lacks.
        for child in load_whole(model, loaded.get("state_dict", loaded), str(checkpoint)):
            setattr(model, child, None)
    model.dataset_meta = trained_meta(loaded, config)
    return model


def trained_meta(loaded: dict, config: Config) -> dict | None:
    """Class names, and perhaps colours, that a model was trained with.

    Args:
        loaded (dict): The model's checkpoint; may be empty.
        config (Config): The model's config.

    Returns:
        dict | None: Of the checkpoint, or else of the config's test data if it has any.
    """
    meta = (loaded.get("meta") or {}).get("dataset_meta")
    if meta is None and config.get("test_dataloader") is not None:
        meta = dataset_meta(config.test_dataloader.dataset)
    return meta


def dataset_meta(dataset: ConfigDict) -> dict:
    """Class names, and colours if there are any, of a config's data set, without its files.

    Args:
        dataset (ConfigDict): Of a data loader; may wrap others.

    Returns:
        dict: ``classes`` and perhaps ``palette``.

    Raises:
        ValueError: If there is no such data set.
    """
    dataset = inner_dataset(dataset)
    own = {key: dataset[key] for key in ("classes", "palette") if dataset.get(key) is not None}
    if dataset.get("label_colors") is not None:
        own.setdefault("palette", dataset["label_colors"])
    cls = dataset["type"]
    cls = cls if isinstance(cls, type) else DATASETS.get(cls)
    if cls is None:
        raise ValueError(
            f"data set {dataset['type']!r} is not registered"
            f"{near_names(dataset['type'], DATASETS.module_dict)}"
        )
    return {**cls.METAINFO, **(dataset.get("metainfo") or {}), **own}


def inner_dataset(dataset: ConfigDict) -> ConfigDict:
    """The data set, or the first of several, that wrappers such as ``ConcatDataset`` hold.

    Args:
        dataset (ConfigDict): Of a data loader.

    Returns:
        ConfigDict: One with files of its own; ``dataset`` if it wraps none.
    """
    while "dataset" in dataset or "datasets" in dataset:
        dataset = dataset["dataset"] if "dataset" in dataset else dataset["datasets"][0]
    return dataset


def names_and_colors(meta: dict) -> tuple[tuple[str, ...], list[list[int]]]:
    """Class names and one colour each.

    Args:
        meta (dict): ``classes``, and perhaps ``palette``, of a data set or a checkpoint.

    Returns:
        tuple[tuple[str, ...], list[list[int]]]: Names, and RGB of each; the colours that ``mmseg``
        draws where ``meta`` has none or another number of them.
    """
    classes = tuple(meta["classes"])
    palette = meta.get("palette")
    if palette is None or len(palette) != len(classes):
        palette = np.random.RandomState(42).randint(0, 255, (len(classes), 3))
    return classes, np.asarray(palette).tolist()
