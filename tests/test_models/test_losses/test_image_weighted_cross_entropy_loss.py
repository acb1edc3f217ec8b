"""Cross entropy weighted by image, in a head of mmseg."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_papers.models.losses.image_weighted_cross_entropy_loss import image_class_weights


def test_weights_fall_with_the_share():
    label = torch.tensor([[[0, 0, 0, 1], [255, 255, 255, 255]]])
    assert image_class_weights(label, 3, 255).tolist() == [[1.25, 1.75, 1.0]]
    assert image_class_weights(label, 3, 255, upper_bound=2).tolist() == [[1.5, 2.5, 1.0]]


def test_of_bound_zero_it_adds_the_means_of_the_images():
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    loss = MODELS.build(dict(type="ImageWeightedCrossEntropyLoss", upper_bound=0))(logits, label)
    torch.testing.assert_close(loss, 2 * F.cross_entropy(logits, label))


@pytest.mark.parametrize("upper_bound", [-1, float("nan")])
def test_refuses_bounds(upper_bound):
    with pytest.raises(ValueError, match=f"upper_bound must be at least 0, got {upper_bound}"):
        MODELS.build(dict(type="ImageWeightedCrossEntropyLoss", upper_bound=upper_bound))


def test_a_head_of_mmseg_takes_it():
    head = MODELS.build(
        dict(
            type="FCNHead",
            in_channels=4,
            channels=4,
            num_classes=5,
            loss_decode=dict(
                type="ImageWeightedCrossEntropyLoss", loss_weight=0.5, loss_name="loss_image"
            ),
        )
    )
    label = torch.randint(0, 5, (2, 1, 8, 8))
    label[0, :, :3] = 255
    label[1] = 255  # an image without labels adds nothing
    samples = [SegDataSample(gt_sem_seg=PixelData(data=x)) for x in label]
    logits = torch.randn(2, 5, 8, 8, requires_grad=True)
    value = head.loss_by_feat(logits, samples)["loss_image"]
    weight = image_class_weights(label[0], 5, 255)[0]
    expected = F.cross_entropy(logits[:1], label[0], weight, ignore_index=255)
    torch.testing.assert_close(value, 0.5 * expected)
    value.backward()
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[1].any()


def test_refuses_what_it_would_ignore():
    loss = MODELS.build(dict(type="ImageWeightedCrossEntropyLoss"))
    with pytest.raises(TypeError, match="avg_factor"):
        loss(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long), avg_factor=2)
    with pytest.raises(ValueError, match="label holds 2, which is neither one of the 2 classes"):
        loss(torch.zeros(1, 2, 1, 1), torch.full((1, 1, 1), 2))
