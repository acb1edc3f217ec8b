"""Sliding windows of the fused segmentors against mmseg's."""

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_papers.models.segmentors.sliding_window import SlidingWindow

from .test_prediction import CASES, SIZE, assert_same_prediction, predict
from .tiny_models import (
    NUM_CLASSES,
    OCR,
    Largest,
    build_pair,
    head,
    images,
    model_config,
    one_channel,
    with_meta,
)

GRIDS = {
    "overlapping": dict(crop_size=(16, 16), stride=(11, 10)),
    "tiled": dict(crop_size=(11, 23), stride=(11, 23)),
    "thrice": dict(crop_size=(20, 24), stride=(5, 6)),
    "wider_than_image": dict(crop_size=(16, 64), stride=(8, 32)),
    "larger_than_image": dict(crop_size=(64, 64), stride=(32, 32)),
    "as_large": dict(crop_size=SIZE, stride=SIZE),
}


def slide(**grid):
    return dict(mode="slide", **grid)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("decode_head", [head(), head(align_corners=True), OCR])
def test_equals_mmseg(grid, decode_head):
    theirs, ours = build_pair(model_config(decode_head, test_cfg=slide(**grid)))
    inputs = images(1)
    for meta in (None, *CASES.values()):
        (expected,), (got,) = (
            predict(model, inputs, meta and with_meta(meta)) for model in (theirs, ours)
        )
        assert_same_prediction(got, expected)


@pytest.mark.parametrize("case", ["same_size", "padded_flipped", "larger"])
@pytest.mark.parametrize("window_batch", [2, 4, 100])
def test_window_batch(case, window_batch):
    options = dict(window_batch=window_batch)
    theirs, ours = build_pair(model_config(head(), test_cfg=slide(**GRIDS["overlapping"])), options)
    inputs = images(2)
    batches = []
    forward = ours.backbone.forward
    ours.backbone.forward = lambda x: (batches.append(len(x)), forward(x))[1]
    expected, got = (
        predict(model, inputs, with_meta(*[CASES[case]] * 2)) for model in (theirs, ours)
    )
    assert max(batches) == 2 * min(window_batch, 12)
    for a, b in zip(got, expected, strict=True):
        # Convolutions of another batch size may round differently.
        torch.testing.assert_close(a.seg_logits.data, b.seg_logits.data)
        differ = a.pred_sem_seg.data != b.pred_sem_seg.data
        top2 = b.seg_logits.data.topk(2, dim=0).values
        assert (top2[0] - top2[1])[differ[0]].lt(1e-4).all()


@pytest.mark.parametrize("case", ["same_size", "padded", "smaller"])
def test_confidence(case):
    config = model_config(head(), test_cfg=slide(**GRIDS["overlapping"]))
    theirs, ours = build_pair(config, dict(keep="confidence"))
    inputs = images(1)
    (expected,), (got,) = (
        predict(model, inputs, with_meta(CASES[case])) for model in (theirs, ours)
    )
    probability = expected.seg_logits.data.softmax(0).amax(0, keepdim=True)
    torch.testing.assert_close(got.seg_confidence.data, probability)


def test_samples_of_a_batch_have_their_own_sizes():
    theirs, ours = build_pair(model_config(head(), test_cfg=slide(**GRIDS["overlapping"])))
    metas = list(CASES.values())
    inputs = images(len(metas))
    together = predict(ours, inputs, with_meta(*metas))
    for image, meta, got in zip(inputs, metas, together, strict=True):
        (alone,) = predict(theirs, image[None], with_meta(meta))
        torch.testing.assert_close(got.seg_logits.data, alone.seg_logits.data)
        assert (got.pred_sem_seg.data != alone.pred_sem_seg.data).float().mean() < 1e-3


@pytest.mark.parametrize(
    "decode_head",
    [
        head("EncHead", num_codes=4, in_channels=[8, 12], in_index=[0, 1]),
        one_channel(0.4),
    ],
    ids=["own_predict", "one_channel"],
)
@pytest.mark.parametrize("window_batch", [1, 3])
def test_falls_back(decode_head, window_batch):
    config = model_config(decode_head, test_cfg=slide(**GRIDS["overlapping"]))
    theirs, ours = build_pair(config, dict(window_batch=window_batch))
    inputs = images(1)
    (expected,), (got,) = (
        predict(model, inputs, with_meta(CASES["larger"])) for model in (theirs, ours)
    )
    if window_batch == 1:
        assert_same_prediction(got, expected)
    torch.testing.assert_close(got.seg_logits.data, expected.seg_logits.data)


def test_slide_inference_equals_mmsegs():
    theirs, ours = build_pair(model_config(head(), test_cfg=slide(**GRIDS["thrice"])))
    inputs = images(2)
    metas = [dict(CASES["same_size"]) for _ in range(2)]
    expected, got = (model.eval().inference(inputs, metas) for model in (theirs, ours))
    assert torch.equal(got, expected)


def test_gaps_are_refused():
    for stride, gap in (((17, 16), 33), ((16, 17), 46)):
        with pytest.raises(ValueError, match=f"16 pixels with stride 17 leave gaps .* of {gap}"):
            SlidingWindow(SIZE, (16, 16), stride, align_corners=False)


@pytest.mark.parametrize(
    ("test_cfg", "message"),
    [
        (None, "test_cfg must be a dict"),
        (dict(mode="strips"), r"mode must be one of \('whole', 'slide'\), got 'strips'"),
        (dict(mode="slide", stride=(8, 8)), "crop_size must be a height and a width, .* got None"),
        (dict(mode="slide", crop_size=(16, 16), stride=8), "stride must be a height .* got 8"),
        (slide(crop_size=(16, 16), stride=(0, 8)), r"stride must be a height .* got \(0, 8\)"),
        (slide(crop_size=(16, 16), stride=(17, 8)), r"must not exceed .* \(16, 16\), got \(17, 8"),
    ],
)
def test_unfit_test_cfg_is_refused_at_build(test_cfg, message):
    config = model_config(head())
    config.update(type="FusedEncoderDecoder", test_cfg=test_cfg)
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)


def test_memory_is_a_band():
    size, crop = (256, 64), (32, 32)
    theirs, ours = build_pair(model_config(head(), test_cfg=slide(crop_size=crop, stride=(16, 16))))
    meta = dict(img_shape=size, pad_shape=size, ori_shape=size)
    largest = []
    for model in (theirs, ours):
        inputs = images(1, size)
        with Largest() as mode:
            predict(model, inputs, with_meta(meta))
        largest.append(mode.elements)
    assert largest[0] == NUM_CLASSES * 256 * 64
    assert largest[1] <= max(NUM_CLASSES * 32 * 64, 3 * 256 * 64)


def test_bands_are_done_when_yielded():
    """Windows are taken one row at a time, and every row is yielded once, from the top."""
    windows = SlidingWindow((10, 7), (4, 4), (3, 2), align_corners=False)
    taken = []

    def logits():
        for i in range(len(windows.rows) * len(windows.columns)):
            taken.append(i)
            yield torch.ones(1, 2, 4, 4)

    seen = []
    for top, band in windows.bands(logits(), torch.float32):
        seen.append((top, band.shape[2], len(taken)))
        assert torch.equal(band, torch.ones_like(band))
    assert seen == [(0, 3, 3), (3, 3, 6), (6, 4, 9)]
