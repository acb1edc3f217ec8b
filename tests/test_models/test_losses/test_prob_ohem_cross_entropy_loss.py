"""ProbOhemCrossEntropyLoss: as described, value and gradient, and where nothing is left."""

import pytest
import torch
import torch.nn.functional as F

from mmseg_papers.models.losses import ProbOhemCrossEntropyLoss

from .test_ohem_cross_entropy_loss import WEIGHT, batch


def as_described(logits, label, thres, min_kept, class_weight):
    valid = label != 255
    probability = logits.softmax(1).gather(1, (label * valid)[:, None])[:, 0][valid]
    if min_kept <= len(probability):
        limit = max(thres, probability.sort().values[min_kept - 1].item())
        kept = valid.clone()
        kept[valid] = probability <= limit
        label = label.masked_fill(~kept, 255)
    weight = None if class_weight is None else logits.new_tensor(class_weight)
    return F.cross_entropy(logits, label, weight, ignore_index=255)


@pytest.mark.parametrize("class_weight", [None, WEIGHT])
@pytest.mark.parametrize(("thres", "min_kept"), [(0.3, 5), (0.01, 20), (0.01, 1), (0.5, 10**6)])
def test_as_described(thres, min_kept, class_weight):
    logits, label = batch()
    ours = ProbOhemCrossEntropyLoss(thres, min_kept, class_weight=class_weight)(logits, label)
    expected = as_described(logits, label, thres, min_kept, class_weight)
    torch.testing.assert_close(ours, expected)
    grads = (torch.autograd.grad(value, logits)[0] for value in (ours, expected))
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("min_kept", [1, 100])
def test_a_batch_without_labels_costs_nothing(min_kept):
    logits, label = batch(ignored=1.1)
    loss = ProbOhemCrossEntropyLoss(min_kept=min_kept)(logits, label)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()
