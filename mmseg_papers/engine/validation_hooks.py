"""Seeing a model learn: the same pictures at every validation, and the validation loss."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from math import ceil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from torch import nn

from ..models.layers.height_attention import row_positions
from ..models.segmentors.sliding_window import SlidingWindow
from ..pictures import picture_of


@HOOKS.register_module()
class ValidationPicturesHook(Hook):
    """Draw the same validation images, label beside prediction, at every validation.

    All visualisation back ends get them (files, TensorBoard, wandb), under the image's name, with
    its folders' where several have one name, and with the training iteration as step. ``mmseg``'s
    ``SegVisualizationHook`` draws others each time, and only what OpenCV reads.

    Args:
        num_images (int): How many, evenly spread over the validation set. Default: 4.
        bands (Sequence[int]): Channels of the loaded image that are drawn as red, green and blue.
            Default: (2, 1, 0), for BGR; a single channel is drawn grey.

    Raises:
        ValueError: If ``num_images`` is not positive or ``bands`` are not three.
    """

    def __init__(self, num_images: int = 4, bands: Sequence[int] = (2, 1, 0)) -> None:
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        if len(bands) != 3:
            raise ValueError(f"bands must name three channels, got {tuple(bands)}")
        self.num_images = num_images
        self.bands = tuple(bands)

    def before_val_epoch(self, runner: Runner) -> None:
        """Choose the images.

        Args:
            runner (Runner): Of the training.
        """
        total = len(runner.val_dataloader.dataset)
        chosen = np.linspace(0, total - 1, min(self.num_images, total)).astype(int)
        chosen = [runner.val_dataloader.dataset.get_data_info(int(i))["img_path"] for i in chosen]
        self._names = _short_names(dict.fromkeys(chosen))
        self._drawn: dict[str, tuple[np.ndarray, SegDataSample]] = {}

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[SegDataSample],
    ) -> None:
        """Keep those of the chosen images that are in the batch.

        Args:
            runner (Runner): Of the training.
            batch_idx (int): Not used.
            data_batch (dict): With the images as loaded, ``inputs``.
            outputs (Sequence[SegDataSample]): Their labels and predictions.

        Raises:
            ValueError: If ``bands`` names a channel that the images lack.
        """
        for image, sample in zip(data_batch["inputs"], outputs, strict=True):
            if sample.img_path not in self._names:
                continue
            kept = sample.new()
            if "seg_logits" in kept:
                del kept.seg_logits  # of all classes
            picture = picture_of(image, self.bands, sample.ori_shape)
            self._drawn[self._names[sample.img_path]] = picture, kept.cpu()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Draw the chosen images, which are spread over the processes.

        Args:
            runner (Runner): Of the training.
            metrics (dict[str, float], optional): Not used.
        """
        drawn = {k: v for part in all_gather_object(self._drawn) for k, v in part.items()}
        for name, (picture, sample) in drawn.items():
            runner.visualizer.add_datasample(
                f"val_{name}", picture, data_sample=sample, step=runner.iter, with_labels=False
            )


def _short_names(paths: Iterable[str]) -> dict[str, str]:
    """Path -> its name without suffix; where several have one name, with their folders'."""
    absolute = {path: Path(os.path.abspath(path)) for path in paths}
    root = os.path.commonpath([path.parent for path in absolute.values()])
    counts = Counter(path.stem for path in absolute.values())
    long_names = {
        key: "_".join(path.relative_to(root).with_suffix("").parts)
        for key, path in absolute.items()
    }
    return {
        key: path.stem if counts[path.stem] == 1 else long_names[key]
        for key, path in absolute.items()
    }


@HOOKS.register_module()
class ValidationLossHook(Hook):
    """Log the mean loss of every validation as ``val/loss``.

    The losses are those of training, auxiliary heads included, with the model in evaluation mode.
    Each validation batch runs through the model a second time, images of different sizes by
    themselves. Labels are brought to the images' size, and ignored where these are padded; an image
    without row positions is taken for a whole one. The mean is over the images of all processes,
    each counted once.

    With ``test_cfg.mode='slide'`` an image's loss is the mean over its windows; an image smaller
    than a window is padded to it. Sides are padded to multiples of the ``size_divisor`` that a
    model may have.
    """

    def before_val_epoch(self, runner: Runner) -> None:
        """Start anew.

        Args:
            runner (Runner): Of the training.
        """
        self._sum, self._images, self._seen = 0.0, 0, 0

    @torch.no_grad()
    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[SegDataSample],
    ) -> None:
        """Add a batch's loss.

        Args:
            runner (Runner): Of the training.
            batch_idx (int): Not used.
            data_batch (dict): Images and labels.
            outputs (Sequence[SegDataSample]): Not used.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head = getattr(model, "decode_head", None)
        head = head[-1] if isinstance(head, nn.ModuleList) else head
        ignore_index = getattr(head, "ignore_index", 255)
        # The processes take images in turn; the sampler fills up the last turn with some again.
        world_size = get_world_size()
        first = self._seen * world_size + get_rank()
        new = range(first, len(runner.val_dataloader.dataset), world_size)
        self._seen += len(data_batch["inputs"])
        shapes = [tuple(x.shape) for x, _ in zip(data_batch["inputs"], new, strict=False)]
        for shape in dict.fromkeys(shapes):
            members = [i for i, other in enumerate(shapes) if other == shape]
            part = {key: [values[i] for i in members] for key, values in data_batch.items()}
            data = model.data_preprocessor(part, training=False)
            inputs, samples = data["inputs"], data["data_samples"]
            windows = _windows(model, inputs.shape[2:])
            missing = [n - have for n, have in zip(windows.size, inputs.shape[2:], strict=True)]
            inputs = F.pad(inputs, (0, missing[1], 0, missing[0]))
            for sample in samples:
                _fit_to_image(sample, shape[1:], windows.size, ignore_index)
            places = list(product(windows.rows, windows.columns))
            for rows, columns in places:
                window = inputs[:, :, slice(*rows), slice(*columns)]
                of_window = [_cut(sample, shape[1:], rows, columns) for sample in samples]
                loss, _ = model.parse_losses(model(window, of_window, mode="loss"))
                self._sum += loss.item() * len(members) / len(places)
            self._images += len(members)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Log the mean.

        Args:
            runner (Runner): Of the training.
            metrics (dict[str, float], optional): Not used.
        """
        total = torch.tensor([self._sum, self._images], dtype=torch.float64)
        all_reduce(total)
        # MMEngine logs the mean of what it has of a loss, here of all validations.
        runner.message_hub.log_scalars.pop("val/loss", None)
        runner.message_hub.update_scalar("val/loss", (total[0] / total[1]).item())


def _windows(model: nn.Module, size: Sequence[int]) -> SlidingWindow:
    """Where a model's losses are computed, of images padded to the windows' ``size``."""
    test_cfg = getattr(model, "test_cfg", None) or {}
    slides = test_cfg.get("mode") == "slide"
    divisor = getattr(model, "size_divisor", 1)
    crop = [ceil(n / divisor) * divisor for n in (test_cfg["crop_size"] if slides else size)]
    stride = test_cfg["stride"] if slides else crop
    padded = tuple(map(max, size, crop))
    return SlidingWindow(padded, crop, stride, align_corners=False)


def _fit_to_image(
    sample: SegDataSample, size: tuple[int, int], padded: tuple[int, int], ignore_index: int
) -> None:
    """Give a sample the label and the row positions that the loss needs.

    Args:
        sample (SegDataSample): Of a whole image; changed in place.
        size (tuple[int, int]): Height and width of the image without its padding.
        padded (tuple[int, int]): The same with the padding, at the bottom and the right.
        ignore_index (int): Label of the padding.
    """
    if "row_position" not in sample:
        sample.set_metainfo(dict(row_position=row_positions(size[0]).numpy().astype(np.uint8)))
    if "gt_sem_seg" not in sample:
        return
    label = sample.gt_sem_seg.data
    if label.shape[1:] != size:  # test pipelines resize the image alone
        label = F.interpolate(label[None].float(), size, mode="nearest")[0].to(label.dtype)
    right, bottom = padded[1] - size[1], padded[0] - size[0]
    label = F.pad(label, (0, right, 0, bottom), value=ignore_index)
    sample.gt_sem_seg = PixelData(data=label)


def _cut(
    sample: SegDataSample, size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> SegDataSample:
    """The sample of a window.

    Args:
        sample (SegDataSample): Of a padded image, as :func:`_fit_to_image` leaves it.
        size (tuple[int, int]): Height and width of the image without its padding.
        rows (tuple[int, int]): First row of the window, and one past the last.
        columns (tuple[int, int]): The same of its columns.

    Returns:
        SegDataSample: A new one.
    """
    height, width = rows[1] - rows[0], columns[1] - columns[0]
    bottom = min(max(rows[1] - size[0], 0), height)
    right = min(max(columns[1] - size[1], 0), width)
    window = sample.new()
    row_position = sample.row_position[slice(*rows)]
    window.set_metainfo(dict(padding_size=[0, right, 0, bottom], row_position=row_position))
    if "gt_sem_seg" in sample:
        label = sample.gt_sem_seg.data[:, slice(*rows), slice(*columns)]
        window.gt_sem_seg = PixelData(data=label)
    return window
