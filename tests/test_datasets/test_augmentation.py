"""Resizing and blurring by chance."""

import cv2
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS


def sample(size=(40, 60)):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    label = rng.integers(0, 5, size, dtype=np.uint8)
    return dict(img=image, img_shape=size, gt_seg_map=label, seg_fields=["gt_seg_map"])


def test_resizes_relative_to_the_image():
    resize = TRANSFORMS.build(dict(type="RandomRelativeResize", ratio_range=(0.5, 2.0)))
    ratios = []
    for size in [(40, 60)] * 200 + [(100, 30)] * 200:
        out = resize(sample(size))
        assert out["img"].shape[:2] == out["gt_seg_map"].shape == out["img_shape"]
        ratio = out["img"].shape[0] / size[0]
        assert out["img"].shape[1] / size[1] == pytest.approx(ratio, abs=0.04)
        assert set(np.unique(out["gt_seg_map"])) <= set(range(5))
        ratios.append(ratio)
    assert 0.49 < min(ratios) < 0.55
    assert 1.9 < max(ratios) < 2.01
    assert np.mean(ratios) == pytest.approx(1.25, abs=0.08)


def test_resizes_every_map():
    resize = TRANSFORMS.build(dict(type="RandomRelativeResize", ratio_range=(0.5, 0.5)))
    out = resize(TRANSFORMS.build(dict(type="AddRowPosition"))(sample()))
    assert out["row_position"].shape == out["gt_seg_map"].shape == out["img"].shape[:2] == (20, 30)


def test_short_side_has_a_minimum():
    resize = TRANSFORMS.build(
        dict(type="RandomRelativeResize", ratio_range=(0.5, 2.0), min_short_side=35)
    )
    for size in ((40, 60), (100, 30), (7, 9)):
        short = [min(resize(sample(size))["img"].shape[:2]) for _ in range(200)]
        assert min(short) == 35
        assert max(short) <= max(2 * min(size), 35)
        below = (35 / min(size) - 0.5) / 1.5  # share of the factors that are raised
        assert short.count(35) / 200 == pytest.approx(min(below, 1), abs=0.12)


def test_blurs_the_image_by_chance():
    blur = TRANSFORMS.build(dict(type="RandomGaussianBlur", prob=0.3))
    before = sample()
    blurred = 0
    for _ in range(300):
        out = blur(sample())
        assert np.array_equal(out["gt_seg_map"], before["gt_seg_map"])
        if not np.array_equal(out["img"], before["img"]):
            assert np.array_equal(out["img"], cv2.GaussianBlur(before["img"], (5, 5), 0))
            blurred += 1
    assert 60 < blurred < 120


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(type="RandomRelativeResize", ratio_range=(2.0, 0.5)), r"got \(2\.0, 0\.5\)"),
        (dict(type="RandomRelativeResize", ratio_range=(0.0, 1.0)), "ratio_range must be"),
        (
            dict(type="RandomRelativeResize", ratio_range=(1.0, 2.0), min_short_side=-1),
            "min_short_side must not be negative, got -1",
        ),
        (dict(type="RandomGaussianBlur", prob=2), r"prob must be in \[0, 1\], got 2"),
        (dict(type="RandomGaussianBlur", kernel_size=4), "kernel_size must be odd, got 4"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(options)
