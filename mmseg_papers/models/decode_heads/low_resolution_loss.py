"""Losses at the size of the logits."""

from __future__ import annotations

import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor


class LowResolutionLoss:
    """Mixin for decode heads whose losses are taken at the size of their logits.

    The labels are reduced to it by nearest sampling; ``mmseg`` enlarges the logits.
    """

    #: How labels are sampled, as in ``torch.nn.functional.interpolate``.
    label_mode: str = "nearest"

    def loss_by_feat(
        self, seg_logits: Tensor, batch_data_samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """Losses of logits.

        Args:
            seg_logits (Tensor): (N, out_channels, h, w).
            batch_data_samples (list[SegDataSample]): With ``gt_sem_seg`` of one size.

        Returns:
            dict[str, Tensor]: As ``BaseDecodeHead.loss_by_feat``.
        """
        labels = self._stack_batch_gt(batch_data_samples)
        labels = F.interpolate(labels.float(), seg_logits.shape[2:], mode=self.label_mode).long()
        samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
        return super().loss_by_feat(seg_logits, samples)


@MODELS.register_module()
class LowResolutionFCNHead(LowResolutionLoss, FCNHead):
    """FCN head whose losses are taken at the size of its logits.

    HANet's auxiliary loss (the authors' ``network/deepv3.py``). Arguments are ``FCNHead``'s.
    """
