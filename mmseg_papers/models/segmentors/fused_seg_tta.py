"""Test-time augmentation in the memory of one augmentation."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from .fused_encoder_decoder import last_head
from .postprocessing import winner_probability


@MODELS.register_module()
class FusedSegTTAModel(SegTTAModel):
    """``mmseg``'s ``SegTTAModel``, which adds up probabilities as each augmentation finishes.

    Memory does not grow with the number of augmentations; the labels are ``SegTTAModel``'s, for
    any segmentor with several output channels. With one, whose ``seg_logits`` are the sigmoid
    already, ``mmseg`` takes the sigmoid again, which is above 0.5 everywhere; here the label of the
    mean probability is taken. A subclass's own ``merge_preds`` gets all augmentations at once, as
    in ``mmseg``.

    Args:
        module (dict | nn.Module): The segmentor.
        data_preprocessor (dict | nn.Module, optional): In place of the segmentor's own.
    """

    def test_step(self, data: dict | tuple | list) -> list[SegDataSample]:
        """Merged predictions for a batch of ``TestTimeAug``.

        Args:
            data (dict | tuple | list): Each of its values lists the augmentations, each of which
                lists the images of the batch.

        Returns:
            list[SegDataSample]: Those of the last augmentation, with ``pred_sem_seg`` (and
            ``seg_confidence``, if the segmentor gives it) of all.
        """
        if type(self).merge_preds is not SegTTAModel.merge_preds:
            return super().test_step(data)
        totals: list[Tensor] = []
        samples: list[SegDataSample] = []
        first: list[tuple] = []
        number = 0
        for batch in _augmentations(data):
            for sample in samples:  # the loader's batch holds them until all are through
                if hasattr(sample, "seg_logits"):
                    del sample.seg_logits
            samples = self.module.test_step(batch)
            if number == 0:
                first = [(sample.get("gt_sem_seg"), sample.get("img_path")) for sample in samples]
            totals = self._add(totals, samples)
            number += 1
        for sample, total, (gt_sem_seg, img_path) in zip(samples, totals, first, strict=True):
            total = self._merged(total, number)
            labels = self._labels(total)
            sample.set_data({"pred_sem_seg": PixelData(data=labels)})
            if "seg_confidence" in sample:
                confidence = winner_probability(total, labels)
                sample.set_data({"seg_confidence": PixelData(data=confidence)})
            if gt_sem_seg is not None:
                sample.set_data({"gt_sem_seg": gt_sem_seg})
            sample.set_metainfo({"img_path": img_path})
        return samples

    def _add(self, totals: list[Tensor], samples: list[SegDataSample]) -> list[Tensor]:
        if not totals:
            return [self._values(sample) for sample in samples]
        for total, sample in zip(totals, samples, strict=True):
            total += self._values(sample)
        return totals

    def _merged(self, total: Tensor, number: int) -> Tensor:
        return total.div_(number)

    def _values(self, sample: SegDataSample) -> Tensor:
        """What is averaged, in memory of its own."""
        values = sample.seg_logits.data
        # Of one channel they are the sigmoid already.
        return values.softmax(dim=0) if self.module.out_channels > 1 else values.clone()

    def _labels(self, probabilities: Tensor) -> Tensor:
        if self.module.out_channels > 1:
            return probabilities.argmax(dim=0, keepdim=True)
        return (probabilities > last_head(self.module).threshold).to(probabilities)


def _augmentations(data: dict | tuple | list) -> Iterator[dict | list]:
    if isinstance(data, dict):
        for values in zip(*data.values(), strict=True):
            yield dict(zip(data, values, strict=True))
    elif isinstance(data, (tuple, list)):
        yield from map(list, zip(*data, strict=True))
    else:
        raise TypeError(f"a batch must be a dict, tuple or list, got {type(data)}")
