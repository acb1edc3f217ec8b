"""AffinityLoss: weights and options of the operation, and the labels of positions."""

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_papers.models.losses import AffinityLoss, label_of_positions
from mmseg_papers.ops import affinity_loss, affinity_sums


def inputs():
    return torch.randn(2, 12, 3, 4), torch.randint(0, 5, (2, 12))


def test_weights():
    logits, label = inputs()
    terms = affinity_loss(logits, label)
    loss = MODELS.build(
        dict(type="AffinityLoss", unary_weight=2.0, global_weight=3.0, loss_weight=0.5)
    )
    torch.testing.assert_close(loss(logits, label), terms[0] + 1.5 * terms[1:].sum())
    torch.testing.assert_close(AffinityLoss()(logits, label), terms.sum())


@pytest.mark.parametrize(
    "options", [dict(empty_rows="skip"), dict(clamped_bce=True), dict(count_self=True)]
)
def test_options_reach_the_operation(options):
    logits, label = inputs()
    label[0, 1], label[1, 0] = label[0, 0] + 1, 77
    logits[0, 0, 0, 1] = 30
    found = AffinityLoss(**options)(logits, label)
    torch.testing.assert_close(found, affinity_loss(logits, label, **options).sum())
    assert (found - AffinityLoss()(logits, label)).abs() > 0.01


def test_from_sums():
    logits, label = inputs()
    loss = AffinityLoss(global_weight=2.0)
    assert torch.equal(loss.from_sums(affinity_sums(logits, label), label), loss(logits, label))


def test_refuses_unknown_empty_rows():
    with pytest.raises(ValueError, match="'clamp' or 'skip', got 'ignore'"):
        AffinityLoss(empty_rows="ignore")


def test_positions_take_the_nearest_pixel():
    label = torch.randint(0, 200, (2, 1, 50, 67))
    label[:, :, :9] = 255
    rows, columns = torch.arange(7) * 50 // 7, torch.arange(9) * 67 // 9
    expected = label[:, 0, rows][:, :, columns].flatten(1)
    assert torch.equal(label_of_positions(label, (7, 9)), expected)
    divisible = torch.randint(0, 200, (1, 1, 48, 64))
    assert torch.equal(label_of_positions(divisible, (6, 8)), divisible[0, :, ::8, ::8].flatten(1))
