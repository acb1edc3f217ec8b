"""HardPixelMiningLoss against its definition."""

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.structures import SegDataSample
from torch.nn import functional as F

from mmseg_papers.models.losses import HardPixelMiningLoss
from mmseg_papers.models.segmentors.fused_loss import fused_losses, why_loss_is_not_fused


def data():
    torch.manual_seed(0)
    label = torch.randint(0, 4, (2, 5, 6))
    label[:, 0] = 255
    return torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True), label


def test_is_the_mean_of_the_hardest():
    logits, label = data()
    losses = F.cross_entropy(logits, label, reduction="none", ignore_index=255).flatten()
    expected = losses.sort(descending=True).values[: int(0.3 * 60)].mean()
    loss = HardPixelMiningLoss(0.3, loss_weight=2)(logits, label, ignore_index=255)
    torch.testing.assert_close(loss, 2 * expected)


def test_of_all_pixels_it_is_the_mean_of_the_valid_ones():
    logits, label = data()
    loss = HardPixelMiningLoss(1)(logits, label, ignore_index=255)
    torch.testing.assert_close(loss, F.cross_entropy(logits, label, ignore_index=255))


@pytest.mark.parametrize(("done", "share"), [(0, 1), (25, 0.85), (50, 0.7), (100, 0.4), (300, 0.4)])
def test_the_share_falls_from_one(done, share, monkeypatch):
    monkeypatch.setattr(MessageHub, "get_info", lambda *_: done)
    logits, label = data()
    loss = HardPixelMiningLoss(0.4, ramp_iters=100)(logits, label, ignore_index=255)
    expected = HardPixelMiningLoss(share)(logits, label, ignore_index=255)
    torch.testing.assert_close(loss, expected)


def test_the_ramp_ends_at_the_share_to_the_pixel(monkeypatch):
    monkeypatch.setattr(MessageHub, "get_info", lambda *_: 100)
    torch.manual_seed(0)
    logits, label = torch.randn(1, 3, 20, 50), torch.randint(0, 3, (1, 20, 50))
    for share in (0.1, 0.2):
        ramped = HardPixelMiningLoss(share, ramp_iters=100)(logits, label)
        assert torch.equal(ramped, HardPixelMiningLoss(share)(logits, label))


def test_counts_pixels_in_single_precision():
    """0.7 * 5760 is 4032 in float32, and a little less in float64."""
    torch.manual_seed(0)
    logits, label = torch.randn(3, 4, 48, 40), torch.randint(0, 4, (3, 48, 40))
    losses = F.cross_entropy(logits, label, reduction="none").flatten()
    expected = losses.topk(4032).values.mean()
    assert torch.equal(HardPixelMiningLoss(0.7)(logits, label), expected)


def test_the_ramp_is_computed_in_single_precision(monkeypatch):
    """(0.3 * 0.25 + 0.7) * 6400 is 4960 in float32, and a little less in float64."""
    monkeypatch.setattr(MessageHub, "get_info", lambda *_: 30)
    losses = torch.arange(1.0, 6401).view(1, 80, 80)
    loss = HardPixelMiningLoss(0.25, ramp_iters=100).of_pixel_losses(losses, None, 255)
    torch.testing.assert_close(loss, losses.flatten()[-4960:].mean())


def test_takes_no_more_pixels_than_there_are():
    """2^24 + 3 is 2^24 + 4 in float32."""
    losses = torch.ones(1, 1, 2**24 + 3)
    assert HardPixelMiningLoss(1).of_pixel_losses(losses, None, 255) == 1


def test_all_ignored():
    logits, label = data()
    loss = HardPixelMiningLoss(0.5)(logits, torch.full_like(label, 255), ignore_index=255)
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().sum() == 0


@pytest.mark.parametrize("share", [0, 1.5])
def test_refuses_shares(share):
    with pytest.raises(ValueError, match=rf"share must be in \(0, 1\], got {share}"):
        HardPixelMiningLoss(share)


def test_refuses_a_negative_ramp():
    with pytest.raises(ValueError, match="ramp_iters must be at least 0, got -1"):
        HardPixelMiningLoss(0.5, ramp_iters=-1)


def test_refuses_samplers():
    logits, label = data()
    with pytest.raises(ValueError, match="sampler=None"):
        HardPixelMiningLoss(0.5)(logits, label, weight=torch.ones(2, 5, 6))


def test_from_low_resolution_logits():
    """The segmentors compute it as a head of mmseg does from resized logits."""
    logits, label = data()
    head = FCNHead(
        in_channels=4,
        channels=4,
        num_convs=0,
        concat_input=False,
        num_classes=4,
        loss_decode=dict(type="HardPixelMiningLoss", share=0.3),
    )
    label = label.repeat_interleave(3, 1).repeat_interleave(3, 2)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=y[None])) for y in label]
    assert why_loss_is_not_fused(head) is None
    fused, plain = fused_losses(head, logits, samples), head.loss_by_feat(logits, samples)
    torch.testing.assert_close(fused["loss_ce"], plain["loss_ce"], check_dtype=False)
    gradients = [torch.autograd.grad(x["loss_ce"], logits)[0] for x in (fused, plain)]
    torch.testing.assert_close(*gradients)
