"""Test-time augmentation that averages logits."""

from __future__ import annotations

from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from .fused_seg_tta import FusedSegTTAModel


@MODELS.register_module()
class LogitSegTTAModel(FusedSegTTAModel):
    """Augmentations average the logits, as HANet's and DenseASPP's published evaluation does.

    DenseASPP's code averages the log-soft-max, which differs from the logits by the same number for
    all classes of a pixel, so that the labels are the same. ``mmseg``'s and
    :class:`FusedSegTTAModel` average the soft-max of every augmentation instead.

    Args:
        module (dict | nn.Module): The segmentor, of more than one output channel.
        **kwargs: As :class:`FusedSegTTAModel`.

    Raises:
        ValueError: If the segmentor has one output channel.
    """

    def __init__(self, module, **kwargs) -> None:
        super().__init__(module=module, **kwargs)
        if self.module.out_channels == 1:
            raise ValueError("the segmentor must have more than one output channel, got 1")

    def _values(self, sample: SegDataSample) -> Tensor:
        return sample.seg_logits.data.clone()

    def _merged(self, total: Tensor, number: int) -> Tensor:
        return super()._merged(total, number).softmax(dim=0)
