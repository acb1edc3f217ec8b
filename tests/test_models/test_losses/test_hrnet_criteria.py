"""The HRNet authors' losses, value and gradient, through a head and through the fused path."""

import pytest
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmseg_papers.models.segmentors.fused_loss import fused_losses, why_loss_is_not_fused

from ...reference import Case
from ...reference.hrnet import loss_heads, loss_inputs

NAMES = [name for paper, name in Case.names() if paper == "hrnet" and name.startswith("loss_")]


def by_mmseg(head, logits, samples):
    return head.loss_by_feat(logits, samples)


@pytest.mark.parametrize("losses_of", [by_mmseg, fused_losses])
@pytest.mark.parametrize("name", NAMES)
def test_equals_the_authors_code(name, losses_of):
    case = Case.load("hrnet", name)
    logits, label = loss_inputs(case)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=y[None])) for y in label]
    heads = loss_heads(case)
    assert [why_loss_is_not_fused(head) for head in heads] == [None] * len(heads)
    value = 0
    for head, x in zip(heads, logits, strict=True):
        losses = losses_of(head, x, samples)
        value = value + sum(v.mean() for k, v in losses.items() if k.startswith("loss"))
    value.backward()
    gradients = {f"grad{i}": x.grad for i, x in enumerate(logits)}
    case.assert_equal({"value": value.reshape(1), **gradients})
