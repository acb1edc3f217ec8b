"""Evaluation by windows of the training size and their mirror images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from .fused_encoder_decoder import FusedEncoderDecoder
from .postprocessing import Postprocessing


@MODELS.register_module()
class FlipSlideEncoderDecoder(FusedEncoderDecoder):
    """``FusedEncoderDecoder`` that evaluates as the authors of PSPNet and SPNet do.

    An image smaller than the window is padded on all sides. Soft-max probabilities, where ``mmseg``
    takes logits, are averaged over every window and its mirror image, then over the windows, and
    resized with ``align_corners=False`` to the image's first size. ``seg_logits`` are their
    logarithms, so that test-time augmentation averages the probabilities, too.

    Training is ``FusedEncoderDecoder``'s. Arguments are as there; ``test_cfg`` is
    ``dict(mode='slide', crop_size=.., stride=..)``, the authors' stride 2/3 of the window.

    Raises:
        ValueError: If ``test_cfg.mode`` is not ``'slide'``, or the head has one output channel.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not self._slides:
            raise ValueError(
                f"test_cfg.mode must be 'slide' for {type(self).__name__}, got "
                f"{self.test_cfg.get('mode', 'whole')!r}"
            )
        if self.out_channels == 1:
            raise ValueError(
                f"decode_head.out_channels must be at least 2 for {type(self).__name__}, which "
                "averages soft-max probabilities, got 1"
            )

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Logarithms of the averaged probabilities.

        Args:
            inputs (Tensor): (N, C, H, W).
            batch_img_metas (list[dict]): One for each image.

        Returns:
            Tensor: (N, K, H, W).
        """
        height, width = inputs.shape[2:]
        missing = [
            max(crop - length, 0)
            for crop, length in zip(self.test_cfg["crop_size"], (height, width), strict=True)
        ]
        top, left = (length // 2 for length in missing)
        # Zero is the mean colour.
        padded = F.pad(inputs, (left, missing[1] - left, top, missing[0] - top))
        windows = self._windows(padded)

        def probabilities() -> Iterator[Tensor]:
            for batch in windows.batches(padded, self.test_cfg.get("window_batch", 1)):
                both = torch.cat([batch, batch.flip(3)])
                # A head knows a window by the type of its img_shape.
                metas = [dict(meta, img_shape=batch.shape[2:]) for meta in batch_img_metas]
                logits = self.encode_decode(both, metas * (len(both) // len(inputs)))
                yield from self.mean_of_mirror_images(logits).split(len(inputs))

        mean = windows.merge(probabilities(), inputs.dtype)
        return mean[:, :, top : top + height, left : left + width].log()

    @staticmethod
    def mean_of_mirror_images(logits: Tensor) -> Tensor:
        """Soft-max probabilities averaged over windows and their mirror images.

        Args:
            logits (Tensor): (2N, K, H, W), of N windows and then of their mirror images.

        Returns:
            Tensor: (N, K, H, W), unmirrored.
        """
        both = logits.softmax(dim=1).unflatten(0, (2, -1))
        return (both[0] + both[1].flip(3)) / 2

    def _why_prediction_is_not_fused(self) -> str:
        return f"{type(self).__name__} averages probabilities"

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Resize probabilities, not their logarithms, and take the likeliest class.

        Args:
            seg_logits (Tensor): (N, K, H, W), logarithms of probabilities.
            data_samples (list[SegDataSample], optional): Their meta information. Default: no step.

        Returns:
            list[SegDataSample]: With ``seg_logits`` (K, H, W) and ``pred_sem_seg`` (1, H, W).
        """
        size = tuple(seg_logits.shape[2:])
        if data_samples is None:
            data_samples = [SegDataSample() for _ in seg_logits]
            steps = [Postprocessing(size, align_corners=False)] * len(data_samples)
        else:
            steps = [Postprocessing.of(s.metainfo, size, align_corners=False) for s in data_samples]
        images = seg_logits.exp().split(1)
        for sample, step, image in zip(data_samples, steps, images, strict=True):
            probabilities = step.logits(image)
            labels = probabilities.argmax(dim=0, keepdim=True)
            sample.set_data(
                {
                    "seg_logits": PixelData(data=probabilities.log()),
                    "pred_sem_seg": PixelData(data=labels),
                }
            )
        return data_samples
