"""LIP's left and right classes change places wherever an image is flipped."""

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.datasets import LIPDataset
from mmseg.registry import TRANSFORMS

from mmseg_papers.apis.configs import packaged_configs

NAMES = [name for name in packaged_configs() if "_lip-" in name]


@pytest.mark.parametrize("name", NAMES)
def test_training_and_testing_swap_left_and_right(name):
    config = Config.fromfile(packaged_configs()[name])
    (step,) = [dict(t) for t in config.train_pipeline if t.type == "RandomFlip"]
    classes = LIPDataset.METAINFO["classes"]
    other_side = {"Left": "Right", "Right": "Left"}
    expected = np.arange(20)
    for label, of_class in enumerate(classes):
        side, _, part = of_class.partition("-")
        if side in other_side:
            expected[label] = classes.index(f"{other_side[side]}-{part}")
    labels = np.arange(20, dtype=np.uint8)[None]
    results = dict(img=np.zeros((1, 20, 3), np.uint8), gt_seg_map=labels, img_shape=(1, 20))
    results |= dict(seg_fields=["gt_seg_map"])
    flipped = TRANSFORMS.build(dict(step, prob=1.0)).transform(results)["gt_seg_map"]
    assert flipped[0, ::-1].tolist() == expected.tolist()
    assert [tuple(pair) for pair in config.tta_model.swap_labels] == [
        (a, b) for a, b in enumerate(expected) if a < b
    ]


@pytest.mark.parametrize("name", NAMES)
def test_images_are_squashed_and_not_cropped_in_testing(name):
    config = Config.fromfile(packaged_configs()[name])
    (resize,) = [t for t in config.test_pipeline if t.type == "Resize"]
    assert (tuple(resize.scale), resize.keep_ratio) == ((473, 473), False)
