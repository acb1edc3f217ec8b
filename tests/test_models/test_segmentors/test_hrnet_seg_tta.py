"""HRNetSegTTAModel: the authors' merging, and classes that a flip exchanges."""

import pytest
import torch
from mmseg.registry import MODELS

from .test_fused_seg_tta import augmented
from .tiny_models import build_pair, head, model_config, one_channel

PAIRS = [(2, 3), (6, 5)]
ORDER = [0, 1, 3, 2, 4, 6, 5, *range(7, 19)]


def run(model, data, tta="HRNetSegTTAModel", **options):
    tta = MODELS.build(dict(type=tta, module=model.eval(), **options))
    with torch.no_grad():
        return tta.test_step(data)


def logits_of(model, data):
    """Full-size logits of every augmentation of the first image."""
    with torch.no_grad():
        steps = [{k: v[i] for k, v in data.items()} for i in range(len(data["inputs"]))]
        return [model.eval().test_step(step)[0].seg_logits.data for step in steps]


@pytest.mark.parametrize("swap_labels", [(), PAIRS])
def test_equals_the_authors_formula(swap_labels):
    _, model = build_pair(model_config(head()), dict(keep="confidence"))
    data = augmented()
    total = 0
    logits = logits_of(model, data)
    for plain, flipped in zip(logits[::2], logits[1::2], strict=True):
        flipped = flipped[ORDER] if swap_labels else flipped
        total = total + ((plain + flipped) / 2).exp()
    (result,) = run(model, augmented_again(data), swap_labels=swap_labels)
    assert torch.equal(result.pred_sem_seg.data, total.argmax(0, keepdim=True))
    torch.testing.assert_close(
        result.seg_confidence.data, (total / total.sum(0)).amax(0, keepdim=True)
    )


def augmented_again(data):
    """The same images, whose samples have no predictions yet."""
    fresh = augmented()
    return dict(inputs=data["inputs"], data_samples=fresh["data_samples"])


def test_swapping_matters():
    _, model = build_pair(model_config(head()))
    data = augmented()
    plain, swapped = (
        run(model, augmented_again(data), swap_labels=pairs)[0].pred_sem_seg.data
        for pairs in ((), PAIRS)
    )
    assert not torch.equal(plain, swapped)


def test_large_logits_do_not_overflow():
    _, model = build_pair(model_config(head()), dict(keep="confidence"))
    model.decode_head.conv_seg.weight.data *= 1e4
    (result,) = run(model, augmented())
    assert torch.isfinite(result.seg_confidence.data).all()


@pytest.mark.parametrize("pair", [(2, 19), (2,)])
def test_refuses_unfit_pairs(pair):
    _, model = build_pair(model_config(head()))
    with pytest.raises(ValueError, match=r"pairs of classes 0\.\.18, got"):
        run(model, augmented(), swap_labels=[pair])


@pytest.mark.parametrize("tta", ["HRNetSegTTAModel", "LogitSegTTAModel"])
def test_refuses_one_channel(tta):
    _, model = build_pair(model_config(one_channel(0.6)))
    with pytest.raises(ValueError, match="more than one output channel"):
        run(model, augmented(), tta)
