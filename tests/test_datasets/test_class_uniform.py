"""Class-uniform sampling: centroids, epochs, crops around them."""

import json
import os
import shutil

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATA_SAMPLERS, DATASETS
from PIL import Image

from mmseg_papers.datasets import ClassUniformSampler
from mmseg_papers.datasets.class_uniform import class_centroids, draw_epoch

CLASSES = ("a", "b", "c", "d")


@DATASETS.register_module()
class FourClasses(BaseSegDataset):
    METAINFO = dict(classes=CLASSES, palette=[[0, 0, 0]] * 4)


def write(root, labels):
    for i, label in enumerate(labels):
        for folder, array in (("img", np.zeros((*label.shape, 3), np.uint8)), ("ann", label)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            suffix = "jpg" if folder == "img" else "png"
            Image.fromarray(array).save(root / folder / f"{i}.{suffix}")
    return dict(
        type="FourClasses",
        data_root=str(root),
        data_prefix=dict(img_path="img", seg_map_path="ann"),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations"),
            dict(type="Resize", scale_factor=2.0),
            dict(type="CentroidCrop", crop_size=(24, 24)),
            dict(type="PackSegInputs", meta_keys=("img_path", "crop_centroid")),
        ],
    )


def label_maps(count, seed=0, size=(48, 64)):
    rng = np.random.default_rng(seed)
    labels = np.zeros((count, *size), np.uint8)
    for label in labels:
        y, x = rng.integers(0, size[0] - 6), rng.integers(0, size[1] - 6)
        label[y : y + 6, x : x + 6] = rng.integers(1, 3)
    return labels


@pytest.fixture
def dataset(tmp_path):
    config = write(tmp_path / "fine", label_maps(6))
    return DATASETS.build(dict(type="ClassUniformDataset", datasets=[config], tile_size=16))


def test_centroids_are_centres_of_mass_within_tiles():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 5, (40, 36)).astype(np.uint8)  # 4 is ignored
    found = class_centroids(label, 4, 16)
    for c, x, y in found:
        top, left = y // 16 * 16, x // 16 * 16
        rows, columns = np.nonzero(label[top : top + 16, left : left + 16] == c)
        assert (x, y) == (left + int(columns.mean()), top + int(rows.mean()))
    assert len(found) == 4 * 2 * 2
    assert class_centroids(label, 4, 64) == []


def test_an_epoch_shows_classes_equally_often():
    classes = np.repeat([0, 1, 3], [50, 3, 7])  # class 2 has none
    epoch = draw_epoch(100, classes, 4, 0.5, np.random.default_rng(0))
    plain, drawn = epoch[epoch < 100], epoch[epoch >= 100] - 100
    assert len(plain) == 100 - 4 * 12 == len(set(plain))
    assert np.bincount(classes[drawn], minlength=4).tolist() == [12, 12, 0, 12]
    assert len(set(drawn[classes[drawn] == 0])) == 12  # without replacement
    assert np.bincount(drawn)[50:53].tolist() == [4, 4, 4]  # then again
    assert set(np.bincount(drawn)[53:60]) == {1, 2}


def test_items_with_a_centroid_are_cropped_around_it(dataset):
    assert len(dataset) == 6
    plain = dataset[3]["data_samples"]
    assert "crop_centroid" not in plain.metainfo
    assert plain.img_path.endswith("3.jpg")
    seen = set()
    for k, (image, c, _x, _y) in enumerate(dataset.centroids.tolist()):
        sample = dataset[len(dataset) + k]["data_samples"]
        assert sample.img_path.endswith(f"{image}.jpg")
        assert sample.gt_sem_seg.shape == (24, 24)
        if c in (1, 2):
            assert (sample.gt_sem_seg.data == c).any()
            seen.add(c)
    assert seen == {1, 2}


RESIZES = [dict(type="Resize", scale_factor=factor) for factor in (2.0, 0.75)]
PAD = dict(type="Pad", size=(200, 300))
FLIPS = {
    direction: dict(type="RandomFlip", prob=1.0, direction=direction)
    for direction in ("horizontal", "vertical", "diagonal")
}


@pytest.mark.parametrize(
    "steps",
    [[], RESIZES, [RESIZES[0], PAD], *([RESIZES[0], flip, RESIZES[1]] for flip in FLIPS.values())],
    ids=["plain", "resized twice", "padded", *FLIPS],
)
def test_crops_hold_the_centroid_after_any_steps(steps):
    label = np.zeros((60, 90), np.uint8)
    label[9:13, 21:25] = 1
    loaded = dict(
        img=np.zeros((60, 90, 3), np.uint8),
        gt_seg_map=label,
        seg_fields=["gt_seg_map"],
        ori_shape=label.shape,
        crop_centroid=(22, 10),
    )
    pipeline = Compose([*steps, dict(type="CentroidCrop", crop_size=(4, 4))])
    np.random.seed(0)
    for _ in range(10):
        assert (pipeline(dict(loaded, seg_fields=["gt_seg_map"]))["gt_seg_map"] == 1).any()


def test_the_sampler_never_ends_and_is_seeded(dataset):
    draws = []
    for seed in (1, 1, 2):
        sampler = DATA_SAMPLERS.build(
            dict(type="ClassUniformSampler", seed=seed), default_args=dict(dataset=dataset)
        )
        iterator = iter(sampler)
        draws.append([next(iterator) for _ in range(50)])
    assert draws[0] == draws[1] != draws[2]
    assert len(sampler) == 6


def test_processes_share_an_epoch(dataset, monkeypatch):
    whole = iter(ClassUniformSampler(dataset, seed=0))
    expected = [next(whole) for _ in range(20)]
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(
            "mmseg_papers.datasets.class_uniform.get_dist_info", lambda rank=rank: (rank, 2)
        )
        iterator = iter(ClassUniformSampler(dataset, seed=0))
        parts.append([next(iterator) for _ in range(10)])
    assert [i for pair in zip(*parts, strict=True) for i in pair] == expected


def test_extra_images_come_for_some_classes_only(tmp_path):
    fine = write(tmp_path / "fine", label_maps(3))
    coarse = write(tmp_path / "coarse", label_maps(4, seed=1))
    dataset = DATASETS.build(
        dict(
            type="ClassUniformDataset",
            datasets=[fine],
            extra_dataset=coarse,
            extra_classes=(2,),
            tile_size=16,
        )
    )
    assert len(dataset) == 3
    of_extra = dataset.centroids[dataset.centroids[:, 0] >= 3]
    assert set(of_extra[:, 1]) == {2}
    k = int(np.flatnonzero(dataset.centroids[:, 0] >= 3)[0])
    assert "coarse" in dataset[3 + k]["data_samples"].img_path


def test_centroids_are_kept_in_a_file(tmp_path):
    config = write(tmp_path / "fine", label_maps(3))
    file = tmp_path / "kept" / "centroids.json"
    options = dict(type="ClassUniformDataset", datasets=[config], centroids_file=str(file))
    first = DATASETS.build(dict(options, tile_size=16))
    content = json.loads(file.read_text())
    content["centroids"] = content["centroids"][:5]
    file.write_text(json.dumps(content))
    again = DATASETS.build(dict(options, tile_size=16))
    assert again.centroids.tolist() == first.centroids.tolist()[:5]
    with pytest.raises(ValueError, match=r"centroids\.json is of .*'tile_size': 16.*remove it"):
        DATASETS.build(dict(options, tile_size=8))
    assert [p.name for p in file.parent.iterdir()] == ["centroids.json"]


def change_content(root):
    file = root / "ann" / "1.png"
    before = file.read_bytes()
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    return {}


def change_names(root):
    for file in ("img/{}.jpg", "ann/{}.png"):
        (root / file.format(1)).rename(root / file.format(3))
    return {}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda root: dict(metainfo=dict(classes=("a", "b", "c"))), "classes"),
        (lambda root: dict(reduce_zero_label=True), "reduce_zero_label"),
        (change_content, "digest"),
        (change_names, "digest"),
    ],
    ids=["classes", "options", "content", "names"],
)
def test_kept_centroids_of_other_labels_are_refused(tmp_path, change, key):
    config = write(tmp_path / "fine", label_maps(3))
    options = dict(type="ClassUniformDataset", tile_size=16, centroids_file=str(tmp_path / "kept"))
    DATASETS.build(dict(options, datasets=[config]))
    config.update(change(tmp_path / "fine"))
    with pytest.raises(ValueError, match=rf"kept is of .*{key}.*remove it"):
        DATASETS.build(dict(options, datasets=[config]))


def test_kept_centroids_serve_a_copy_of_the_data(tmp_path):
    """Its files have other times and lie elsewhere."""
    config = write(tmp_path / "fine", label_maps(3))
    options = dict(type="ClassUniformDataset", tile_size=16, centroids_file=str(tmp_path / "kept"))
    first = DATASETS.build(dict(options, datasets=[config]))
    shutil.copytree(tmp_path / "fine", tmp_path / "copied", copy_function=shutil.copyfile)
    for file in (tmp_path / "copied").rglob("*.png"):
        os.utime(file, (0, 0))
    config.update(data_root=str(tmp_path / "copied"))
    again = DATASETS.build(dict(options, datasets=[config]))
    assert again.centroids.tolist() == first.centroids.tolist()


def test_too_few_images_for_crops_are_told(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        "mmseg_papers.datasets.class_uniform.print_log", lambda message, *_: said.append(message)
    )
    config = write(tmp_path / "few", label_maps(3))
    options = dict(type="ClassUniformDataset", tile_size=16)
    few = DATASETS.build(dict(options, datasets=[config]))
    said.clear()
    ClassUniformSampler(few, fraction=0.0)
    assert not said
    ClassUniformSampler(few)
    assert "0.5 of 3 images are fewer than 4 classes" in said[0]
    assert "the same data set 3 times" in said[0]
    enough = DATASETS.build(dict(options, datasets=[config] * 3))
    said.clear()
    sampler = iter(ClassUniformSampler(enough))
    assert not said
    assert max(next(sampler) for _ in range(20)) >= len(enough)


def test_bad_input(tmp_path, dataset):
    config = write(tmp_path / "few", label_maps(2))
    with pytest.raises(ValueError, match="whole tile of 1024 x 1024 pixels; reduce tile_size"):
        DATASETS.build(dict(type="ClassUniformDataset", datasets=[config]))
    with pytest.raises(ValueError, match=r"extra_classes=\(1,\) and no extra_dataset"):
        DATASETS.build(
            dict(type="ClassUniformDataset", datasets=[config], extra_classes=(1,), tile_size=16)
        )
    with pytest.raises(TypeError, match="samples a ClassUniformDataset, got FourClasses"):
        ClassUniformSampler(DATASETS.build(config))
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\], got 2"):
        ClassUniformSampler(dataset, fraction=2)


def test_jitter_and_blur_change_colours_only():
    rng = np.random.default_rng(0)
    image = rng.integers(60, 190, (32, 40, 3), dtype=np.uint8)
    for step in (dict(type="ColorJitter"), dict(type="GaussianBlur")):
        got = Compose([step])(dict(img=image.copy()))["img"]
        assert got.shape == image.shape
        assert got.dtype == np.uint8
        assert (got != image).any()
    same = dict(type="ColorJitter", brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    got = Compose([same])(dict(img=image.copy()))["img"]
    assert np.abs(got.astype(int) - image).max() <= 4  # through HSV and back
    blurred = Compose([dict(type="GaussianBlur", sigma=(1.3, 1.3))])(dict(img=image.copy()))["img"]
    assert blurred.std() < image.std() / 2


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (dict(type="ColorJitter", hue=0.6), r"hue must be in \[0, 0\.5\], got 0\.6"),
        (dict(type="ColorJitter", contrast=-0.1), r"contrast must be in \[0, 1\]"),
        (dict(type="GaussianBlur", sigma=(1.0, 0.5)), r"sigma must be a range above 0"),
    ],
)
def test_bad_options_of_colours(step, message):
    with pytest.raises(ValueError, match=message):
        Compose([step])


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4)])
def test_jitter_names_an_image_without_colours(shape):
    results = dict(img=np.zeros(shape, np.uint8), img_path="field.tif")
    with pytest.raises(ValueError, match=r"ColorJitter needs BGR images, but field\.tif has"):
        Compose([dict(type="ColorJitter")])(results)


def test_brightness_is_a_factor(monkeypatch):
    monkeypatch.setattr(np.random, "uniform", lambda low, high: high)
    step = dict(type="ColorJitter", brightness=0.5, contrast=0.0, saturation=0.0, hue=0.0)
    got = Compose([step])(dict(img=np.full((2, 2, 3), 100, np.uint8)))["img"]
    assert (got == 150).all()
