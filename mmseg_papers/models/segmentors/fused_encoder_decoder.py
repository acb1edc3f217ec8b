"""mmseg's segmentors without full-resolution logits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from inspect import isfunction
from itertools import chain
from numbers import Integral

import torch
from mmengine.logging import print_log
from mmengine.model import ModuleList
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from ...ops.export import is_traced
from ..layers import fuse_residual_stages
from ..layers.complete_loading import SOURCE, check_whole
from ..option_errors import naming_options
from .fused_loss import (
    check_device,
    check_losses,
    fused_losses,
    is_foreign,
    overrides,
    why_loss_is_not_fused,
)
from .lazy_pixel_data import LazyPixelData
from .postprocessing import Postprocessing, winner_probability
from .sliding_window import SlidingWindow

HEADS = ("decode_head", "auxiliary_head")


class FusedSegmentorMixin:
    """Losses and label maps from a segmentor's low-resolution logits, with ``mmseg``'s results.

    *Training.* A decode head, auxiliary head or stage of a cascade with cross entropy (with or
    without ``OHEMPixelSampler``) as :class:`mmseg.models.decode_heads.BaseDecodeHead` computes it
    gets it, and the accuracy, from a fused operation; its other losses share one resized map. Log
    keys, losses and gradients are ``mmseg``'s to rounding. With one output channel ``acc_seg``
    differs: see :func:`mmseg_papers.models.segmentors.fused_loss.fused_losses`. A head that
    computes losses of its own besides has ``forward_with_losses(inputs, data_samples) -> (logits,
    losses)``, as :class:`mmseg_papers.models.decode_heads.CPHead`.

    *Evaluation.* ``pred_sem_seg`` comes from a fused operation, too, if the last head has the base
    class's ``predict`` and more than one output channel. ``seg_logits`` are there as always, but
    :class:`LazyPixelData`: resized when they are read, which the runner's loops never do.
    Batches may hold images of different sizes: each size is run by itself, as if alone.

    *Sliding window.* The same windows as ``mmseg``'s, added into a buffer of one window's height.
    Where an image is not resized to another original size afterwards, finished rows become labels
    at once and the full map of logits never exists.

    Every other head takes ``mmseg``'s path by itself. The log says at level DEBUG, at the first
    use, which path a head takes and why. ``mode='tensor'``, ``encode_decode`` and ``inference``
    give what they give in ``mmseg``.

    *Initialisation.* Heads in a list are initialised as their ``init_cfg`` says; ``mmseg``'s lists
    leave that out.

    Two more keys of ``test_cfg``:

    - ``keep='confidence'`` adds ``seg_confidence`` to the predictions: the soft-max probability of
      the winner (of sigmoid with one output channel), (1, H, W).
    - ``window_batch`` (int): Windows that run through the network together in ``mode='slide'``.
      Default: 1.

    Raises:
        ValueError: If a part has a type or option that does not exist, or a value that cannot be;
            ``test_cfg`` is missing or not as described; or a head with one output channel has
            soft-max cross entropy.
    """

    #: Children that inference does without.
    training_only: tuple[str, ...] = ("auxiliary_head",)
    #: Sides of the label map over those of the input; more than 1 in a network that super-resolves.
    output_scale: int = 1

    def __init__(self, *args, **kwargs) -> None:
        _check_numbers(kwargs)
        with naming_options(kwargs, "model"):
            super().__init__(*args, **kwargs)
        for name in HEADS:
            if type(heads := getattr(self, name, None)) is nn.ModuleList:
                setattr(self, name, ModuleList(heads))
        _check_test_cfg(self)
        _check_mean_and_std(self.data_preprocessor)
        for module in self.modules():
            if isinstance(module, BaseDecodeHead):
                check_losses(module)
        fuse_residual_stages(self)
        self._indexing_heads = {type(m) for m in self.modules() if _reads_maps_by_index(m)}
        self._logged_paths: set[str] = set()

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, local_metadata: dict, *args, **kwargs
    ) -> None:
        if source := local_metadata.get(SOURCE):
            check_whole(self, state_dict, source)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args, **kwargs)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps of backbone and neck.

        Args:
            inputs (Tensor): (N, C, H, W).

        Returns:
            tuple[Tensor, ...]: Those that the heads read.

        Raises:
            ValueError: If a head was built for other maps.
        """
        maps = super().extract_feat(inputs)
        for name in HEADS:
            heads = getattr(self, name, None)
            for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
                if type(head) in self._indexing_heads:
                    _check_maps(head, name, maps)
        return maps

    # Training

    def _head_losses(
        self, head: nn.Module, features: tuple, data_samples: list, name: str
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Losses of one head for its input features, with ``name`` as prefix of their keys.

        Also its logits, unless the head computes its losses by itself.
        """
        check_device(head)
        logits = None
        reason = why_loss_is_not_fused(head)
        self._log_path(f"loss of {name}", head, reason)
        if reason is None and hasattr(head, "forward_with_losses"):
            logits, losses = head.forward_with_losses(*features, data_samples)
            losses = {**fused_losses(head, logits, data_samples), **losses}
        elif reason is None:
            logits = head.forward(*features)
            losses = fused_losses(head, logits, data_samples)
        else:
            losses = head.loss(*features, data_samples, self.train_cfg)
        return add_prefix(losses, name), logits

    def _auxiliary_head_forward_train(
        self, inputs: list[Tensor], data_samples: list
    ) -> dict[str, Tensor]:
        if not isinstance(self.auxiliary_head, nn.ModuleList):
            return self._head_losses(self.auxiliary_head, (inputs,), data_samples, "aux")[0]
        losses = {}
        for i, head in enumerate(self.auxiliary_head):
            losses.update(self._head_losses(head, (inputs,), data_samples, f"aux_{i}")[0])
        return losses

    # Evaluation

    def val_step(self, data: dict | tuple | list) -> list[SegDataSample]:
        """Predictions for a batch of the data loader, whose images may differ in size."""
        return _run_by_size(super().val_step, data)

    def test_step(self, data: dict | tuple | list) -> list[SegDataSample]:
        """Predictions for a batch of the data loader, whose images may differ in size."""
        return _run_by_size(super().test_step, data)

    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Label maps of a batch of images.

        Args:
            inputs (Tensor): (N, C, H, W).
            data_samples (list[SegDataSample], optional): Their meta information: each image is
                cropped, flipped back and resized to its own ``ori_shape``. Default: no such step.

        Returns:
            list[SegDataSample]: ``data_samples``, or new ones, with ``pred_sem_seg`` (int64,
            (1, H, W)), lazy ``seg_logits`` and what ``test_cfg.keep`` asks for.
        """
        reason = self._why_prediction_is_not_fused()
        self._log_path("prediction", last_head(self), reason)
        with_confidence = self.test_cfg.get("keep") == "confidence"
        if reason is not None:
            samples = super().predict(inputs, data_samples)
            for sample in samples if with_confidence else ():
                # Of one channel, mmseg keeps the sigmoid as seg_logits.
                values = sample.seg_logits.data
                probability = values.softmax(dim=0) if len(values) > 1 else values
                confidence = winner_probability(probability, sample.pred_sem_seg.data)
                sample.set_data({"seg_confidence": PixelData(data=confidence)})
            return samples
        if data_samples is None:
            data_samples = [SegDataSample() for _ in range(len(inputs))]
            steps = [Postprocessing(self._output_size(inputs), self.align_corners)] * len(inputs)
        else:
            merged_size = self._output_size(inputs) if self._slides else None
            steps = [
                Postprocessing.of(
                    sample.metainfo, merged_size, self.align_corners, self.output_scale
                )
                for sample in data_samples
            ]
        run = self._predict_slide if self._slides else self._predict_whole
        results = run(inputs, steps, with_confidence)
        for sample, step, (maps, full_logits) in zip(data_samples, steps, results, strict=True):
            labels, *confidence = maps
            fields = {
                "seg_logits": LazyPixelData.of(full_logits, step.result_size),
                # mmseg's type: what reads labels may look them up in tables or subtract from them.
                "pred_sem_seg": PixelData(data=labels.long()),
            }
            if confidence:
                fields["seg_confidence"] = PixelData(data=confidence[0])
            sample.set_data(fields)
        return data_samples

    def _predict_whole(
        self, inputs: Tensor, steps: list[Postprocessing], with_confidence: bool
    ) -> list[tuple[tuple[Tensor, ...], Callable[[], Tensor]]]:
        """For each image: label map, perhaps confidence; and what makes its full-size logits."""
        images = self._forward(inputs).split(1)
        return [
            (step.label_maps(image, with_confidence), partial(step.logits, image))
            for step, image in zip(steps, images, strict=True)
        ]

    def _predict_slide(
        self, inputs: Tensor, steps: list[Postprocessing], with_confidence: bool
    ) -> list[tuple[tuple[Tensor, ...], Callable[[], Tensor]]]:
        """As :meth:`_predict_whole`. Of all windows only the low-resolution logits are kept."""
        windows, dtype = self._windows(inputs), inputs.dtype
        logits = [
            window
            for batch in windows.batches(inputs, self.test_cfg.get("window_batch", 1))
            for window in self._forward(batch).split(len(inputs))
        ]
        if any(step.resizes_twice for step in steps):
            images = windows.merge(logits, dtype).split(1)
            maps = [
                step.label_maps(image, with_confidence)
                for step, image in zip(steps, images, strict=True)
            ]
        else:
            bands = [
                Postprocessing(band.shape[2:], self.align_corners).label_maps(band, with_confidence)
                for _, band in windows.bands(logits, dtype)
            ]
            merged = [torch.cat(parts, dim=1) for parts in zip(*bands, strict=True)]
            maps = [tuple(step.cut(x[i : i + 1]) for x in merged) for i, step in enumerate(steps)]
        return [
            (
                maps[i],
                partial(step.window_logits, windows, [x[i : i + 1] for x in logits], dtype),
            )
            for i, step in enumerate(steps)
        ]

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """``mmseg``'s, which adds every window padded to the images' size; ours adds in place."""
        windows = self._windows(inputs)

        def logits() -> Iterator[Tensor]:
            for batch in windows.batches(inputs, self.test_cfg.get("window_batch", 1)):
                # A head knows a window by the type of its img_shape.
                metas = [dict(meta, img_shape=batch.shape[2:]) for meta in batch_img_metas]
                outputs = self.encode_decode(batch, metas * (len(batch) // len(inputs)))
                yield from outputs.split(len(inputs))

        return windows.merge(logits(), inputs.dtype)

    def _windows(self, inputs: Tensor) -> SlidingWindow:
        return SlidingWindow(
            inputs.shape[2:],
            self.test_cfg["crop_size"],
            self.test_cfg["stride"],
            self.align_corners,
            self.output_scale,
        )

    def _output_size(self, inputs: Tensor) -> tuple[int, ...]:
        return tuple(self.output_scale * length for length in inputs.shape[2:])

    @property
    def _slides(self) -> bool:
        return self.test_cfg.get("mode", "whole") == "slide"

    def _why_prediction_is_not_fused(self) -> str | None:
        head = last_head(self)
        for method in ("predict", "predict_by_feat"):
            if overrides(head, method):
                return f"{type(head).__name__} has a {method} of its own"
        if head.out_channels == 1:
            return "out_channels is 1"
        known = (EncoderDecoder, CascadeEncoderDecoder)
        for method in (
            *("encode_decode", "inference", "whole_inference", "slide_inference"),
            *("_forward", "postprocess_result"),
        ):
            mine = getattr(type(self), method)
            is_ours = mine.__module__.startswith(__package__)  # and agrees with predict
            if not is_ours and mine not in [getattr(cls, method) for cls in known]:
                return f"{type(self).__name__} has a {method} of its own"
        return None

    def _log_path(self, what: str, head: nn.Module, reason: str | None) -> None:
        if what in self._logged_paths or is_traced():  # a logger's lock would break the graph
            return
        self._logged_paths.add(what)
        path = "fused operation" if reason is None else f"mmseg's own code, since {reason}"
        print_log(f"{what} ({type(head).__name__}): {path}", "current", logging.DEBUG)


@MODELS.register_module()
class FusedEncoderDecoder(FusedSegmentorMixin, EncoderDecoder):
    """``mmseg``'s ``EncoderDecoder`` in less memory and time, with its results.

    ``type=`` is the only change to a config; arguments and checkpoint keys stay as they are.
    See :class:`FusedSegmentorMixin`.
    """

    def _decode_head_forward_train(
        self, inputs: list[Tensor], data_samples: list
    ) -> dict[str, Tensor]:
        return self._head_losses(self.decode_head, (inputs,), data_samples, "decode")[0]


@MODELS.register_module()
class FusedCascadeEncoderDecoder(FusedSegmentorMixin, CascadeEncoderDecoder):
    """``mmseg``'s ``CascadeEncoderDecoder`` in less memory and time, with its results.

    ``type=`` is the only change to a config; arguments and checkpoint keys stay as they are.
    ``mmseg`` runs all stages but the last twice in training, for their losses and for the next
    stage, and their batch norm counts both. Here they run once, as in OCR's own code, unless
    dropout would draw anew. See :class:`FusedSegmentorMixin`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        # Which mmseg's predictions of one output look for there, in the list of stages.
        self.decode_head.threshold = getattr(last_head(self), "threshold", None)

    def _decode_head_forward_train(
        self, inputs: list[Tensor], data_samples: list
    ) -> dict[str, Tensor]:
        losses = {}
        features = (inputs,)
        for i, head in enumerate(self.decode_head):
            of_head, logits = self._head_losses(head, features, data_samples, f"decode_{i}")
            losses.update(of_head)
            if i + 1 < self.num_stages:
                if logits is None or _drops(head):
                    logits = head.forward(*features)
                features = (inputs, logits)
        return losses


def _drops(module: nn.Module) -> bool:
    return any(m.p > 0 and m.training for m in module.modules() if isinstance(m, _DropoutNd))


def last_head(segmentor: nn.Module) -> nn.Module:
    """The decode head that predicts: of a cascade, its last stage.

    Args:
        segmentor (nn.Module): Any of ``mmseg``'s encoder-decoders.

    Returns:
        nn.Module: A decode head.
    """
    head = segmentor.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _check_numbers(parts: dict) -> None:
    """Find numbers that PyTorch would refuse without naming them, or divide by."""
    for name in HEADS:
        heads = parts.get(name) or []
        for head in heads if isinstance(heads, (list, tuple)) else [heads]:
            for option in ("num_classes", "channels"):
                value = head.get(option, 1)
                if option == "channels" and value is None:  # HRNetV2Head's default
                    continue
                # Levels of a RefineNet have channels of their own.
                values = value if isinstance(value, (list, tuple)) else [value]
                if not all(isinstance(n, Integral) and n >= 1 for n in values):
                    raise ValueError(f"model.{name}.{option} must be at least 1, got {value!r}")
    preprocessor = parts.get("data_preprocessor")
    std = preprocessor.get("std") if isinstance(preprocessor, dict) else None
    if std is not None and min(std) <= 0:
        raise ValueError(f"model.data_preprocessor.std must be positive, got {tuple(std)}")


def _reads_maps_by_index(module: nn.Module) -> bool:
    """Whether a head takes the maps ``in_index`` names; DDRNet's and PIDNet's take their own.

    A project's may change the maps before.
    """
    if any(is_foreign(module, m) for m in ("forward", "_forward_feature", "_transform_inputs")):
        return False
    functions = [
        vars(base).values()
        for base in type(module).__mro__
        if issubclass(base, BaseDecodeHead) and base is not BaseDecodeHead
    ]
    return any(
        {"_transform_inputs", "in_index"} & set(function.__code__.co_names)
        for function in chain(*functions)
        if isfunction(function)
    )


def _check_maps(head: BaseDecodeHead, name: str, maps: Sequence[Tensor]) -> None:
    """Compare the maps that a head reads with those that it was built for."""
    if not all(isinstance(x, Tensor) for x in maps):  # of a transformer with its class token
        return
    channels, index = head.in_channels, head.in_index
    if isinstance(index, int):
        channels, index = [channels], [index]
    if not all(-len(maps) <= i < len(maps) for i in index):
        raise ValueError(
            f"{name}.in_index={head.in_index}, but {type(head).__name__} gets {len(maps)} maps"
        )
    got = [maps[i].shape[1] for i in index]
    # Of maps that are concatenated mmseg keeps the sum.
    together = head.input_transform == "resize_concat"
    if [sum(got)] != [channels] if together else got != list(channels):
        raise ValueError(
            f"{name}.in_channels={head.in_channels}, but the maps that {type(head).__name__} gets "
            f"by in_index={head.in_index} have {', '.join(map(str, got))} channels; set "
            "in_channels to these"
        )


def _check_mean_and_std(preprocessor: nn.Module) -> None:
    """Refuse counts that differ; mmseg 1.2.2 fails at the first image, naming neither."""
    mean, std = (getattr(preprocessor, name, None) for name in ("mean", "std"))
    if mean is None or std is None or 1 in (len(mean), len(std)):
        return
    if len(mean) != len(std):
        raise ValueError(
            f"data_preprocessor.mean has {len(mean)} values and std {len(std)}; give both one "
            "value for each channel of the images"
        )


def _check_test_cfg(model: FusedSegmentorMixin) -> None:
    """Find what would fail at the first validation, after hours of training."""
    test_cfg = model.test_cfg
    if test_cfg is None:
        raise ValueError("test_cfg must be a dict, such as dict(mode='whole'), got None")
    choices = {"keep": (None, "confidence")}
    if type(model).inference is EncoderDecoder.inference:  # another may know other modes
        choices["mode"] = ("whole", "slide")
    for option, allowed in choices.items():
        value = test_cfg.get(option, allowed[0])
        if value not in allowed:
            raise ValueError(f"test_cfg.{option} must be one of {allowed}, got {value!r}")
    window_batch = test_cfg.get("window_batch", 1)
    if not isinstance(window_batch, int) or window_batch < 1:
        raise ValueError(f"test_cfg.window_batch must be an int >= 1, got {window_batch!r}")
    if test_cfg.get("mode") != "slide":
        return
    for option in ("crop_size", "stride"):
        value = test_cfg.get(option)
        is_pair = isinstance(value, (tuple, list)) and len(value) == 2
        if not is_pair or not all(isinstance(n, Integral) and n >= 1 for n in value):
            raise ValueError(
                f"test_cfg.{option} must be a height and a width, whole numbers of pixels, in "
                f"mode='slide', got {value!r}"
            )
    crop, stride = tuple(test_cfg["crop_size"]), tuple(test_cfg["stride"])
    if stride[0] > crop[0] or stride[1] > crop[1]:
        raise ValueError(
            f"test_cfg.stride must not exceed test_cfg.crop_size {crop}, got {stride}: pixels "
            "between the windows would be in none"
        )


def _run_by_size(step: Callable, data: dict | tuple | list) -> list[SegDataSample]:
    """Run ``step`` for the images of each size by themselves; results in the batch's order."""
    inputs = data.get("inputs") if isinstance(data, dict) else None
    shapes = [] if inputs is None else [tuple(image.shape) for image in inputs]
    if len(set(shapes)) <= 1:
        return step(data)
    samples: list[SegDataSample] = [None] * len(shapes)
    for shape in dict.fromkeys(shapes):
        members = [i for i, other in enumerate(shapes) if other == shape]
        part = {key: [values[i] for i in members] for key, values in data.items()}
        for i, sample in zip(members, step(part), strict=True):
            samples[i] = sample
    return samples
