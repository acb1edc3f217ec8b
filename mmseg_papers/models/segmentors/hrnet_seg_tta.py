"""Test-time augmentation as the HRNet authors merge it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from .logit_seg_tta import LogitSegTTAModel


class _ScaleSum:
    """Running log(sum over scales of exp(mean over flips of the logits)) of one image."""

    def __init__(self) -> None:
        self.log_sum: Tensor | None = None
        self.scale: tuple[int, int] | None = None
        self.flips: Tensor | None = None
        self.number = 0

    def add(self, logits: Tensor, scale: tuple[int, int]) -> None:
        """Logits (K, H, W) of an augmentation; those of one scale follow one another."""
        if scale != self.scale:
            self.close_scale()
            self.scale, self.flips, self.number = scale, torch.zeros_like(logits), 0
        self.flips += logits
        self.number += 1

    def close_scale(self) -> None:
        if self.scale is None:
            return
        mean = self.flips / self.number
        self.log_sum = mean if self.log_sum is None else torch.logaddexp(self.log_sum, mean)


@MODELS.register_module()
class HRNetSegTTAModel(LogitSegTTAModel):
    """Flips average the logits, scales add exp(logits) (``inference`` of the authors' data sets).

    ``mmseg``'s and :class:`FusedSegTTAModel` average the soft-max of every augmentation instead.
    Where classes are left and right ones (LIP), those of a flipped image change places.

    Args:
        module (dict | nn.Module): The segmentor, of more than one output channel.
        swap_labels (Sequence[tuple[int, int]]): Pairs of classes that a horizontal flip exchanges,
            as ``RandomFlip(swap_seg_labels=..)`` does in training. Default: none.
        **kwargs: As :class:`LogitSegTTAModel`.

    Raises:
        ValueError: If the segmentor has one output channel, or a pair is not of two of its classes.
    """

    def __init__(self, module, swap_labels: Sequence[tuple[int, int]] = (), **kwargs) -> None:
        super().__init__(module=module, **kwargs)
        channels = self.module.out_channels
        self.order = list(range(channels))
        for pair in swap_labels:
            if len(pair) != 2 or not all(0 <= label < channels for label in pair):
                raise ValueError(
                    f"swap_labels must be pairs of classes 0..{channels - 1}, got {tuple(pair)}"
                )
            first, second = pair
            self.order[first], self.order[second] = second, first

    def _add(self, totals: list[_ScaleSum], samples: list[SegDataSample]) -> list[_ScaleSum]:
        totals = totals or [_ScaleSum() for _ in samples]
        for total, sample in zip(totals, samples, strict=True):
            logits = sample.seg_logits.data
            if sample.metainfo.get("flip") and sample.flip_direction == "horizontal":
                logits = logits[self.order]
            total.add(logits, tuple(sample.img_shape))
        return totals

    def _merged(self, total: _ScaleSum, number: int) -> Tensor:
        total.close_scale()
        return total.log_sum.softmax(dim=0)
