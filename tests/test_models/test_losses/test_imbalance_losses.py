"""Dice and focal loss: values, ignored pixels, options."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS


def batch(classes, dtype=torch.float64):
    pred = torch.randn(2, classes, 6, 7, dtype=dtype, requires_grad=True)
    label = torch.randint(0, max(classes, 2), (2, 6, 7))
    label[:, :2] = 255
    return pred, label


CONFIGS = [
    dict(type="SoftDiceLoss"),
    dict(type="SoftDiceLoss", smooth=0.0, loss_weight=0.5),
    dict(type="SoftmaxFocalLoss"),
    dict(type="SoftmaxFocalLoss", gamma=0.5, class_weight=[1.0, 2.0, 3.0]),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_ignored_pixels_teach_nothing(config):
    loss = MODELS.build(config)
    pred, label = batch(3)
    value = loss(pred, label)
    (grad,) = torch.autograd.grad(value, pred)
    assert not grad[:, :, :2].any()
    assert grad[:, :, 2:].abs().amin(dim=(0, 1)).all()
    changed = pred.detach().clone()
    changed[:, :, :2] = 9
    torch.testing.assert_close(loss(changed, label), value.detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_all_pixels_ignored(config):
    pred, label = batch(3)
    value = MODELS.build(config)(pred, torch.full_like(label, 255))
    assert value == 0
    (grad,) = torch.autograd.grad(value, pred)
    assert not grad.any()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_half_precision_is_summed_in_float32(config):
    pred, label = batch(3, torch.float32)
    loss = MODELS.build(config)
    got = loss(pred.bfloat16(), label)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, loss(pred.bfloat16().float(), label), rtol=1e-2, atol=0)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_pixel_weights(config):
    """Weight 0 leaves a pixel out; focal loss still counts it in the mean."""
    loss = MODELS.build(config)
    pred, label = batch(3)
    weight = torch.ones(label.shape, dtype=torch.float64)
    torch.testing.assert_close(loss(pred, label, weight=weight), loss(pred, label))
    weight[:, 4:] = 0
    (grad,) = torch.autograd.grad(loss(pred, label, weight=weight), pred)
    assert not grad[:, :, 4:].any()


def test_dice_by_hand():
    logits = torch.tensor([[[[0.0, 2.0]], [[0.0, -2.0]]]], dtype=torch.float64)
    label = torch.tensor([[[0, 0]]])
    p = torch.tensor([0.0, 4.0], dtype=torch.float64).sigmoid()
    expected = 1 - (2 * p.sum() + 1) / (p.sum() + 2 + 1)  # class 1 is absent and does not count
    loss = MODELS.build(dict(type="SoftDiceLoss"))
    torch.testing.assert_close(loss(logits, label), expected)


def test_dice_of_one_channel_is_that_of_class_1():
    pred, label = batch(1)
    loss = MODELS.build(dict(type="SoftDiceLoss"))
    p, t = pred[:, 0, 2:].sigmoid(), (label == 1)[:, 2:]
    expected = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    torch.testing.assert_close(loss(pred, label), expected)


def test_focal_by_hand():
    pred, label = batch(3)
    loss = MODELS.build(dict(type="SoftmaxFocalLoss", class_weight=[1.0, 2.0, 3.0]))
    valid = label != 255
    p = pred.softmax(1).gather(1, (label * valid).unsqueeze(1)).squeeze(1)[valid]
    alpha = label[valid].double() + 1
    torch.testing.assert_close(loss(pred, label), -(alpha * (1 - p) ** 2 * p.log()).mean())


def test_focal_with_gamma_0_is_cross_entropy():
    pred, label = batch(3)
    loss = MODELS.build(dict(type="SoftmaxFocalLoss", gamma=0.0))
    torch.testing.assert_close(loss(pred, label), F.cross_entropy(pred, label, ignore_index=255))


@pytest.mark.parametrize("kind", ["SoftDiceLoss", "SoftmaxFocalLoss", "OhemCrossEntropyLoss"])
def test_labels_beyond_the_classes(kind):
    pred, label = batch(3)
    label[0, 2, 0] = 9
    with pytest.raises(ValueError, match=r"label holds 9, .* 3 classes 0\.\.2"):
        MODELS.build(dict(type=kind))(pred, label)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_gradients(config):
    loss = MODELS.build(config)
    pred, label = batch(3)
    assert torch.autograd.gradcheck(lambda x: loss(x, label), pred)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_a_certain_pixel_teaches_focal_loss_nothing(gamma):
    """Its cross entropy is 0, where a root has no slope."""
    loss = MODELS.build(dict(type="SoftmaxFocalLoss", gamma=gamma))
    pred, label = batch(3)
    certain = F.one_hot(label[:, 2:4] % 3, 3).movedim(3, 1) * 1000
    pred = torch.cat([pred[:, :, :2], certain, pred[:, :, 4:]], dim=2).detach().requires_grad_()
    (grad,) = torch.autograd.grad(loss(pred, label), pred)
    assert not grad[:, :, 2:4].any()
    assert grad[:, :, 4:].abs().amin(dim=(0, 1)).all()


def test_focal_loss_reads_class_weights_of_a_file(tmp_path):
    file = tmp_path / "abc.json"
    file.write_text("[1.0, 2.0, 3.0]")
    loss = MODELS.build(dict(type="SoftmaxFocalLoss", class_weight=str(file)))
    assert loss.class_weight == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda label: label[:1], r"need a label of \(2, 6, 7\), got \(1, 6, 7\)"),
        (lambda label: label[:, :1], r"need a label of \(2, 6, 7\), got \(2, 1, 7\)"),
        (lambda label: label[:, None], r"need a label of \(2, 6, 7\), got \(2, 1, 6, 7\)"),
        (lambda label: label.clamp(max=3), "label holds 3, which is neither one of the"),
        (lambda label: label - 1, "label holds -1, which is neither one of the"),
    ],
)
def test_dice_refuses_labels(change, message, classes):
    pred, label = batch(classes)
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type="SoftDiceLoss"))(pred, change(label), ignore_index=254)


@pytest.mark.parametrize("weights", [2, 6])
def test_focal_loss_refuses_other_numbers_of_class_weights(weights):
    loss = MODELS.build(dict(type="SoftmaxFocalLoss", class_weight=[1.0] * weights))
    with pytest.raises(ValueError, match=f"class_weight has {weights} values and the logits 3 cl"):
        loss(*batch(3))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(type="SoftDiceLoss", smooth=-1), "smooth must not be negative, got -1"),
        (dict(type="SoftmaxFocalLoss", gamma=-1), "gamma must not be negative, got -1"),
    ],
)
def test_bad_options(config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)


@pytest.mark.torch_2_4
@pytest.mark.parametrize("kind", ["SoftDiceLoss", "ImageWeightedCrossEntropyLoss"])
def test_compiles_without_a_graph_break(kind):
    torch._dynamo.reset()
    pred, label = batch(3)
    loss = MODELS.build(dict(type=kind))
    got = torch.compile(loss, fullgraph=True, backend="eager")(pred, label, ignore_index=255)
    torch.testing.assert_close(got, loss(pred, label, ignore_index=255))
