"""RandomBrightness: one shift an image, within its bounds."""

import numpy as np
import pytest
from mmseg.registry import TRANSFORMS

from mmseg_papers.datasets.transforms import RandomBrightness


def test_one_number_is_added_to_all_pixels():
    transform = TRANSFORMS.build(dict(type="RandomBrightness", delta=10))
    image = np.full((4, 5, 3), 100, np.uint8)
    shifts = set()
    for _ in range(300):
        out = transform(dict(img=image))["img"]
        assert out.dtype == np.uint8
        assert (out == out[0, 0, 0]).all()
        shifts.add(int(out[0, 0, 0]) - 100)
    assert shifts == set(range(-10, 11))
    assert (image == 100).all()


def test_values_stay_on_the_scale():
    image = np.array([[[0, 255, 128]]], np.uint8)
    for _ in range(20):
        out = RandomBrightness(50)(dict(img=image))["img"].astype(int)
        assert out[0, 0, 0] in range(51)
        assert out[0, 0, 1] in range(205, 256)


def test_refuses_a_negative_delta():
    with pytest.raises(ValueError, match="delta must be at least 0, got -1"):
        RandomBrightness(-1)
