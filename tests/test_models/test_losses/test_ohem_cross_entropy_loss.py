"""OhemCrossEntropyLoss: mmseg's values where mmseg has any, and what mmseg lacks."""

import pytest
import torch
from mmseg.models.losses import OhemCrossEntropy
from mmseg.registry import MODELS

from mmseg_papers.models.losses import OhemCrossEntropyLoss

WEIGHT = [1.0, 2.0, 0.5, 3.0, 1.5]


def batch(ignored=0.3):
    logits = torch.randn(2, 5, 6, 7, dtype=torch.float64, requires_grad=True)
    label = torch.randint(0, 5, (2, 6, 7))
    label[torch.rand(2, 6, 7) < ignored] = 255
    return logits, label


@pytest.mark.parametrize("class_weight", [None, WEIGHT])
@pytest.mark.parametrize(("thres", "min_kept"), [(0.3, 5), (0.01, 20), (0.5, 10**6)])
def test_equals_mmseg(thres, min_kept, class_weight):
    logits, label = batch()
    theirs = OhemCrossEntropy(thres=thres, min_kept=min_kept, class_weight=class_weight)
    ours = OhemCrossEntropyLoss(thres, min_kept, class_weight)
    values = theirs(logits, label), ours(logits, label, ignore_index=255)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(v, logits)[0] for v in values))


def test_a_batch_without_labels_costs_nothing():
    logits, label = batch(ignored=1.1)
    loss = OhemCrossEntropyLoss()(logits, label, ignore_index=255)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_pixels_of_one_probability_leave_none():
    """As published, none is below the smallest; the mean of none would be NaN."""
    logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    loss = OhemCrossEntropyLoss()(logits, torch.zeros(1, 4, 4, dtype=torch.int64))
    assert loss == 0


def test_a_head_can_call_ours_and_not_mmsegs():
    logits, label = batch()
    options = dict(weight=None, ignore_index=255)
    assert torch.isfinite(OhemCrossEntropyLoss()(logits, label, **options))
    with pytest.raises(TypeError):
        OhemCrossEntropy()(logits, label, **options)


def test_takes_no_sampler():
    head = MODELS.build(
        dict(
            type="FCNHead",
            in_channels=4,
            channels=4,
            num_classes=5,
            loss_decode=dict(type="OhemCrossEntropyLoss"),
            sampler=dict(type="OHEMPixelSampler", thresh=0.7),
        )
    )
    with pytest.raises(ValueError, match="set sampler=None"):
        head.loss_decode(*batch(), weight=torch.ones(2, 6, 7))


@pytest.mark.parametrize("weights", [2, 6])
def test_refuses_other_numbers_of_class_weights(weights):
    loss = OhemCrossEntropyLoss(class_weight=[1.0] * weights)
    with pytest.raises(ValueError, match=f"class_weight has {weights} values and the logits 5 cl"):
        loss(*batch(), ignore_index=255)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(thres=0), r"thres must be a probability in \(0, 1\], got 0"),
        (dict(min_kept=0), "min_kept must be at least 1, got 0"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        OhemCrossEntropyLoss(**options)
