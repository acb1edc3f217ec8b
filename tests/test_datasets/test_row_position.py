"""Positions travel with the rows through resizing, padding, cropping and flipping."""

import numpy as np
import pytest
from mmengine.dataset import Compose

from mmseg_papers.models.layers.height_attention import row_positions


def results(height, width):
    rng = np.random.default_rng(0)
    return dict(
        img=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        gt_seg_map=np.arange(height, dtype=np.uint8)[:, None].repeat(width, 1),
        seg_fields=["gt_seg_map"],
        img_shape=(height, width),
        ori_shape=(height, width),
        img_path="",
        scale_factor=(1.0, 1.0),
    )


def packed(*steps, size=(64, 96)):
    pipeline = Compose([dict(type="AddRowPosition"), *steps, dict(type="PackRowPosition")])
    return pipeline(results(*size))["data_samples"]


def test_of_a_whole_image():
    sample = packed()
    assert sample.metainfo["row_position"].tolist() == row_positions(64).tolist()
    assert sample.metainfo["ori_shape"] == (64, 96)


@pytest.mark.parametrize("kind", ["RandomCrop", "CentroidCrop"])
def test_cropped_with_the_labels(kind):
    sample = packed(dict(type=kind, crop_size=(20, 30)))
    rows = sample.gt_sem_seg.data[0, :, 0].numpy()
    assert sample.metainfo["row_position"].tolist() == row_positions(64).numpy()[rows].tolist()


def test_flipped_with_the_labels():
    sample = packed(dict(type="RandomFlip", prob=1.0, direction="vertical"))
    assert sample.metainfo["row_position"].tolist() == row_positions(64).tolist()[::-1]


@pytest.mark.parametrize("scale", [(192, 128), (48, 32), (131, 87)])
def test_resized_to_within_a_level_or_two(scale):
    sample = packed(dict(type="Resize", scale=scale, keep_ratio=False))
    got = sample.metainfo["row_position"].astype(int)
    expected = row_positions(scale[1]).numpy()
    # Half a source row of 64 is one level of 128.
    assert np.abs(got - expected).max() <= 2


def test_padded_rows_are_known_and_padded_columns_do_not_hide_the_image():
    sample = packed(dict(type="CentroidCrop", crop_size=(80, 120)))
    got = sample.metainfo["row_position"]
    assert len(got) == 80
    image = got[got < 128]
    assert image.tolist() == row_positions(64).tolist()
    assert (sample.gt_sem_seg.data[0][got == 128] == 255).all()


def test_positions_missing():
    with pytest.raises(KeyError, match="AddRowPosition"):
        Compose([dict(type="PackRowPosition")])(results(8, 8))
