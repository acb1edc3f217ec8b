"""Class-weighted cross entropy: ignored pixels, mmseg's conventions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmseg.models.losses import CrossEntropyLoss

from mmseg_papers.models.losses import WeightedCrossEntropyLoss


def batch(ignored=0.3):
    logits = torch.randn(2, 5, 6, 7, dtype=torch.float64, requires_grad=True)
    label = torch.randint(0, 5, (2, 6, 7))
    label[torch.rand(2, 6, 7) < ignored] = 255
    return logits, label


@pytest.mark.parametrize("class_weight", [None, [1.0, 2.0, 0.5, 3.0, 0.0]])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_equals_torch(class_weight, reduction):
    logits, label = batch()
    weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float64)
    expected = F.cross_entropy(logits, label, weight, ignore_index=255, reduction=reduction)
    loss = WeightedCrossEntropyLoss(class_weight, reduction)(logits, label, ignore_index=255)
    # mmseg adds a float32 epsilon to the divisor.
    torch.testing.assert_close(loss, expected, rtol=1e-7, atol=0)
    g, h = (torch.autograd.grad(v.sum(), logits)[0] for v in (loss, expected))
    torch.testing.assert_close(g, h, rtol=1e-7, atol=1e-12)


def test_mmseg_fails_where_ours_works():
    """The reason this class exists: remove it when this test fails."""
    logits, label = batch()
    with pytest.raises(IndexError):
        CrossEntropyLoss(class_weight=[1.0] * 5, avg_non_ignore=True)(
            logits, label, ignore_index=255
        )


def test_pixel_weights_of_a_sampler():
    logits, label = batch(ignored=0)
    weight = (torch.rand(2, 6, 7) < 0.5).double()
    ours = WeightedCrossEntropyLoss(loss_weight=2.0)(logits, label, weight=weight, ignore_index=255)
    theirs = CrossEntropyLoss(loss_weight=2.0)(logits, label, weight=weight, ignore_index=255)
    torch.testing.assert_close(ours, theirs)


def test_a_batch_without_labels_costs_nothing():
    logits, label = batch(ignored=1.1)
    loss = WeightedCrossEntropyLoss([1.0] * 5)(logits, label, ignore_index=255)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_half_precision_does_not_overflow():
    logits = torch.zeros(1, 2, 512, 512, dtype=torch.float16)
    label = torch.zeros(1, 512, 512, dtype=torch.int64)
    loss = WeightedCrossEntropyLoss([1.0, 1.0])(logits, label, ignore_index=255)
    assert loss.item() == pytest.approx(np.log(2), rel=1e-2)


def test_refuses_unfit_options():
    with pytest.raises(ValueError, match="reduction must be none, mean or sum, got 'avg'"):
        WeightedCrossEntropyLoss(reduction="avg")
    logits, label = batch()
    with pytest.raises(ValueError, match="class_weight has 3 values and the logits 5 classes"):
        WeightedCrossEntropyLoss([1.0, 1.0, 1.0])(logits, label)
