"""HANet: height-driven attention between any two places of a segmentor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from mmengine.model import ModuleList
from mmseg.registry import MODELS
from torch import Tensor

from ...ops import gate_rows
from ...ops.export import is_traced
from ..layers.height_attention import PADDING, HeightAttention, position_index, row_positions
from ..option_errors import naming_options
from .end_point import EndPoint
from .fused_encoder_decoder import FusedCascadeEncoderDecoder, FusedEncoderDecoder
from .postprocessing import padding_of
from .sliding_window import SlidingWindow


@dataclass
class Passing:
    """What one forward pass hands from place to place."""

    #: Position of every row of the images that run, (N or 1, H); None for whole images.
    rows: Tensor | None = None
    #: Place -> its pooled source.
    pooled: dict[int, Tensor] = field(default_factory=dict)
    #: Places that gated.
    gated: set[int] = field(default_factory=set)

    def __reduce__(self) -> tuple:
        return Passing, ()  # a copy of the model is in no pass


class HeightAttentionMixin:
    """Adds height-driven attention (arXiv:2003.05128) to a segmentor, by its config alone.

    At each place one map, the source, gates another, the target, that is computed later; see
    :class:`mmseg_papers.models.layers.HeightAttention` for the gate. Places are named as
    :class:`EndPoint` reads them, so backbone and heads stay as they are. Examples:

    - ``backbone.layer3`` -> ``backbone.layer4`` in a ResNet, ``backbone[2]`` -> ``backbone[3]``
      in any backbone;
    - ``decode_head.bottleneck:in`` -> ``decode_head.bottleneck`` in PSPNet and ASPP heads;
    - ``decode_head.fpn_bottleneck:in`` -> ``decode_head.fpn_bottleneck`` in UPerNet;
    - ``decode_head.fusion_conv:in`` -> ``decode_head.fusion_conv`` in SegFormer.

    Places are listed in the order in which they are computed: a source that an earlier place
    gates is the gated map. Where the target of one place is the source of a later one, the gate
    gives the means of its rows on the way, and the map is not read again.

    *Positions.* A gate with positions must know where an image's rows lay before it was cropped:
    :class:`mmseg_papers.datasets.AddRowPosition` and ``PackRowPosition`` in the pipeline. Training
    without them is an error; in evaluation an image without them is taken as whole. Windows of
    ``test_cfg.mode='slide'`` get theirs by themselves. With ``position=None`` no change of the
    pipeline is needed.

    Args:
        height_attention (dict): ``places``, a list of dicts with ``source``, ``target`` and
            options of ``HeightAttention``; other keys are options of all places.
        **kwargs: As for the segmentor.

    Raises:
        ValueError: If ``places`` are missing, or a source or target is, or does not exist; lists
            near names.
    """

    def __init__(self, *args, height_attention: dict, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        shared = dict(height_attention)
        if "places" not in shared:
            raise ValueError(
                "height_attention.places must list dicts with source and target, got "
                f"{height_attention}"
            )
        places = shared.pop("places")
        self._passing = Passing()
        self._sources: list[EndPoint] = []
        self._targets: list[EndPoint] = []
        layers = []
        for i, place in enumerate(places):
            options = {**shared, **place}
            for kind, points in (("source", self._sources), ("target", self._targets)):
                option = f"height_attention.places[{i}].{kind}"
                if kind not in options:
                    raise ValueError(f"{option} must name a module's output or input, is missing")
                points.append(EndPoint.parse(options.pop(kind), self, option))
            with naming_options(options, f"model.height_attention.places[{i}]"):
                layers.append(HeightAttention(**options))
        self.height_attention = ModuleList(layers)
        # At one point, what is registered first runs first: a source sees earlier places' gates.
        for i, (source, target) in enumerate(zip(self._sources, self._targets, strict=True)):
            if self._gate_before(i) is None:
                source.register(self, partial(self._capture, i))
            target.register(self, partial(self._gate, i))

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"):
        """As ``mmseg``'s, with the rows' positions for the gates.

        Args:
            inputs (Tensor): (N, C, H, W).
            data_samples (list[SegDataSample], optional): Their meta information may hold
                ``row_position``.
            mode (str): ``'tensor'``, ``'predict'`` or ``'loss'``.

        Raises:
            ValueError: If a gate with positions is to be trained without them.
            RuntimeError: If a place gated nothing in training.
        """
        if any(layer.position is not None for layer in self.height_attention):
            self._passing.rows = _rows(inputs, data_samples, is_training=mode == "loss")
        try:
            result = super().forward(inputs, data_samples, mode)
            for i, target in enumerate(self._targets):
                # Auxiliary heads run in training only.
                if mode == "loss" and i not in self._passing.gated:
                    raise RuntimeError(
                        f"height_attention.places[{i}] gated nothing: target {target.name!r} is "
                        "not called, since its owner takes only its parts; choose a module before "
                        "or behind it"
                    )
            return result
        finally:
            self._passing.rows = None
            self._passing.pooled.clear()
            self._passing.gated.clear()

    def _windows(self, inputs: Tensor) -> SlidingWindow:
        return _WindowsWithRows(super()._windows(inputs), self._passing)

    def _capture(self, i: int, value: Tensor | tuple) -> None:
        """Pool the source of place ``i`` where it appears."""
        layer, source = self.height_attention[i], self._sources[i]
        _check_runs_once(source, f"height_attention.places[{i}].source")
        parts = source.parts(value)
        _check_channels(source, parts, layer.low_channels, f"places[{i}].low_channels")
        self._passing.pooled[i] = torch.cat([layer.pool(part) for part in parts], dim=1)

    def _gate(self, i: int, value: Tensor | tuple) -> Tensor | tuple:
        """Gate the target of place ``i`` where it appears."""
        layer, target = self.height_attention[i], self._targets[i]
        _check_runs_once(target, f"height_attention.places[{i}].target")
        if i not in self._passing.pooled:
            raise RuntimeError(
                f"height_attention.places[{i}]: source {self._sources[i].name!r} is not computed "
                f"before target {target.name!r}, or the places are not in the order of computing"
            )
        parts = target.parts(value)
        _check_channels(target, parts, layer.high_channels, f"places[{i}].high_channels")
        height = max(part.shape[2] for part in parts)
        self._passing.gated.add(i)
        gate = layer.attention(self._passing.pooled[i], height, self._index(layer))
        gates = gate.split([part.shape[1] for part in parts], dim=1)
        following = [j for j in range(len(self._sources)) if self._gate_before(j) == i]
        gated = [
            gate_rows(part, factor.to(part.dtype), bool(following))
            for part, factor in zip(parts, gates, strict=True)
        ]
        if following:
            means = torch.cat([mean for _, mean in gated], dim=1)
            gated = [part for part, _ in gated]
        for j in following:
            later = self.height_attention[j]
            _check_channels(target, parts, later.low_channels, f"places[{j}].low_channels")
            self._passing.pooled[j] = later.coarse_rows(means)
        return target.replace(value, gated)

    def _gate_before(self, i: int) -> int | None:
        """The last earlier place that gates the source of place ``i``, if its row means do."""
        if self.height_attention[i].pooling != "mean":
            return None
        earlier = [j for j in range(i) if self._targets[j] == self._sources[i]]
        return earlier[-1] if earlier else None

    def _index(self, layer: HeightAttention) -> Tensor | None:
        if layer.position is None:
            return None
        if self._passing.rows is None:
            return torch.arange(layer.coarse_height, device=layer.conv3.weight.device)[None]
        return position_index(self._passing.rows, layer.coarse_height)


@MODELS.register_module()
class HeightAttentionEncoderDecoder(HeightAttentionMixin, FusedEncoderDecoder):
    """``FusedEncoderDecoder`` with height-driven attention; see :class:`HeightAttentionMixin`."""


@MODELS.register_module()
class HeightAttentionCascadeEncoderDecoder(HeightAttentionMixin, FusedCascadeEncoderDecoder):
    """``FusedCascadeEncoderDecoder`` with height-driven attention.

    See :class:`HeightAttentionMixin`.
    """


class _WindowsWithRows(SlidingWindow):
    """Windows that say, as they are cut, where their rows lay."""

    def __init__(self, windows: SlidingWindow, passing: Passing) -> None:
        vars(self).update(vars(windows))
        self.passing = passing

    def batches(self, inputs: Tensor, window_batch: int) -> Iterator[Tensor]:
        windows = super().batches(inputs, window_batch)
        whole, height = self.passing.rows, inputs.shape[2]
        if whole is None and self.window_size[0] == height:
            yield from windows
            return
        rows = row_positions(height, inputs.device)[None] if whole is None else whole
        rows = rows[:, None, :, None].expand(len(inputs), -1, -1, inputs.shape[3])
        for window, of_window in zip(windows, super().batches(rows, window_batch), strict=True):
            self.passing.rows = of_window[:, 0, :, 0]
            yield window
        self.passing.rows = whole


def _rows(inputs: Tensor, data_samples: list | None, is_training: bool) -> Tensor | None:
    """Position of every row of the batch, (N, H), int64; 128 below an image that was padded.

    None if all images are whole and none is padded.
    """
    height = inputs.shape[2]
    rows = []
    for meta in [sample.metainfo for sample in data_samples or []]:
        padded_below = padding_of(meta)[3]
        if "row_position" in meta:
            positions = torch.as_tensor(meta["row_position"]).to(inputs.device, torch.int64)
        elif is_training:
            raise ValueError(
                "height attention with positions is trained on images without them. Put "
                "dict(type='AddRowPosition') before the crop and "
                "dict(type='PackRowPosition') in place of PackSegInputs into the training "
                "pipeline, or set model.height_attention.position=None"
            )
        elif padded_below:
            positions = row_positions(height - int(padded_below), inputs.device)
        else:
            positions = None
        if positions is not None and len(positions) > height:
            raise ValueError(f"row_position has {len(positions)} rows, the images {height}")
        rows.append(positions)
    if all(positions is None for positions in rows):
        return None
    rows = [row_positions(height, inputs.device) if r is None else r for r in rows]
    return torch.stack([F.pad(r, (0, height - len(r)), value=PADDING) for r in rows])


def _check_runs_once(point: EndPoint, option: str) -> None:
    """Refuse a place that checkpointing computes again, after the gates' pass has ended."""
    in_backward = not is_traced() and torch._C._current_graph_task_id() != -1
    if in_backward:
        raise RuntimeError(
            f"{option}: {point.name} is computed again in the backward pass, since a module around "
            "it is checkpointed (with_cp, activation_checkpointing), and gets no gate there; name "
            "that module itself or a place outside, or do not checkpoint it"
        )


def _check_channels(point: EndPoint, parts: list[Tensor], channels: int, option: str) -> None:
    got = sum(part.shape[1] for part in parts)
    if got != channels:
        raise ValueError(
            f"height_attention.{option} is {channels}, but {point.name} has shape "
            f"{[tuple(part.shape) for part in parts]}; set it to {got}"
        )
