"""A folder of images and masks: pairing, other numbers and colours, faults by name."""

import cv2
import numpy as np
import pytest
from mmseg.registry import DATASETS

CLASSES = ("road", "car")
PREFIX = dict(img_path="images/train", seg_map_path="annotations/train")
PIPELINE = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", num_classes=2)]


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for name, suffix in (("a", "JPG"), ("sub dir/b", "png"), ("\u00e9", "tif")):
        image = tmp_path / "images" / "train" / f"{name}.{suffix}"
        label = tmp_path / "annotations" / "train" / f"{name}.png"
        for file, shape in ((image, (8, 9, 3)), (label, (8, 9))):
            file.parent.mkdir(parents=True, exist_ok=True)
            array = rng.integers(0, 2, shape, dtype=np.uint8)
            file.write_bytes(cv2.imencode(file.suffix.lower(), array)[1].tobytes())
    return tmp_path


def build(root, **options):
    config = dict(
        type="FolderDataset",
        data_root=str(root),
        classes=CLASSES,
        data_prefix=dict(PREFIX),
        pipeline=PIPELINE,
    )
    return DATASETS.build({**config, **options})


def labels(root, **options):
    return [sample["gt_seg_map"] for sample in build(root, **options)]


def write_labels(root, array, name="a.png"):
    cv2.imwrite(str(root / "annotations" / "train" / name), array)


def test_pairs_by_name_in_order(root):
    dataset = build(root)
    assert [sample["img_path"].rsplit("train/", 1)[1] for sample in dataset] == [
        "a.JPG",
        "sub dir/b.png",
        "\u00e9.tif",
    ]
    assert dataset.metainfo["classes"] == CLASSES
    assert len(dataset.metainfo["palette"]) == 2
    assert all(label.max() == 1 for label in labels(root))


def test_links_to_folders_are_followed_and_loops_end(root):
    for kind in ("images", "annotations"):
        folder = root / kind / "train"
        (folder / "sub dir").rename(root / f"{kind} elsewhere")
        (folder / "linked").symlink_to(root / f"{kind} elsewhere")
        (root / f"{kind} elsewhere" / "back").symlink_to(folder)
    names = [sample["img_path"].rsplit("train/", 1)[1] for sample in build(root)]
    assert names == ["a.JPG", "linked/b.png", "\u00e9.tif"]


def test_hidden_files_are_left_out(root):
    for name in (
        "images/train/._a.JPG",
        "images/train/.checkpoints/c.png",
        "annotations/train/._a.png",
    ):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    assert len(build(root)) == 3


def test_without_labels(root):
    dataset = build(root, data_prefix=dict(img_path="images/train"), pipeline=PIPELINE[:1])
    assert "seg_map_path" not in dataset[0]
    dataset = build(root, data_prefix=dict(img_path="images/train"))
    with pytest.raises(ValueError, match=r"a\.JPG has no label map; set data_prefix\.seg_map_path"):
        dataset[0]


def test_label_values(root):
    mask = np.zeros((8, 9), np.uint8)
    mask[:3] = 255
    write_labels(root, mask)
    assert set(np.unique(labels(root)[0])) == {0, 255}  # 255 is ignored: only 0 is taught
    for label_values in ({0: 0, 255: 1}, [(0, 0), (255, 1)], np.array([(0, 0), (255, 1)])):
        assert labels(root, label_values=label_values)[0].sum() == 27


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_numpy_labels(root, dtype):
    folder = root / "annotations" / "train"
    (folder / "a.png").unlink()
    expected = np.eye(8, 9).astype(dtype)
    np.save(folder / "a.npy", expected)
    np.testing.assert_array_equal(labels(root)[0], expected)
    np.testing.assert_array_equal(labels(root, label_values={1: 255})[0] == 255, expected == 1)


def test_numpy_labels_from_1(root):
    folder = root / "annotations" / "train"
    for file in folder.rglob("*.png"):
        file.unlink()
        np.save(file.with_suffix(".npy"), np.full((8, 9), 2) * (file.stem != "b"))
    first, second, _ = labels(root, reduce_zero_label=True)
    assert (first == 1).all()
    assert (second == 255).all()


def test_numpy_labels_beyond_255(root):
    folder = root / "annotations" / "train"
    (folder / "a.png").unlink()
    np.save(folder / "a.npy", np.full((8, 9), 300))
    with pytest.raises(ValueError, match=r"a\.npy holds the value 300"):
        build(root)[0]


COLORS = [(128, 64, 128), (0, 0, 142)]


def write_colors(root):
    for file in (root / "annotations" / "train").rglob("*.png"):
        picture = np.full((8, 9, 3), COLORS[0], np.uint8)
        picture[4:] = COLORS[1]
        picture[0, 0] = 0
        file.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())


def test_label_colors(root):
    write_colors(root)
    dataset = build(root, label_colors=COLORS, void_colors=[(0, 0, 0)])
    assert dataset.metainfo["palette"] == [list(color) for color in COLORS]
    label = dataset[0]["gt_seg_map"]
    assert label[0, 0] == 255
    assert (label[:4] == 0).sum() == 35
    assert (label[4:] == 1).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_colours_in_arrays(root, dtype):
    write_colors(root)
    colors, void = np.array(COLORS, dtype), np.zeros((1, 3), dtype)
    lists = dict(palette=COLORS[::-1], label_colors=COLORS, void_colors=[(0, 0, 0)])
    arrays = dict(palette=colors[::-1], label_colors=list(colors), void_colors=void)
    expected, dataset = build(root, **lists), build(root, **arrays)
    assert dataset.metainfo["palette"] == expected.metainfo["palette"]
    assert dataset.label_colors == expected.label_colors
    np.testing.assert_array_equal(dataset[0]["gt_seg_map"], expected[0]["gt_seg_map"])


def test_no_void_colours(root):
    write_colors(root)
    options = dict(label_colors=COLORS, void_colors=None)
    assert set(build(root, **options).label_colors) == set(COLORS)


def test_unknown_colours_are_named(root):
    write_colors(root)
    with pytest.raises(ValueError, match=r"a\.png holds 1 colours .*\(0, 0, 0\) in 1 pixels"):
        build(root, label_colors=COLORS)[0]


def test_colour_labels_without_the_option(root):
    write_colors(root)
    with pytest.raises(ValueError, match=r"a\.png has shape \(8, 9, 3\).*label_colors"):
        build(root)[0]


def test_missing_partners_are_named(root):
    (root / "annotations" / "train" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images in .* have no label map .*: a\."):
        build(root)
    (root / "images" / "train" / "a.JPG").unlink()
    write_labels(root, np.zeros((8, 9), np.uint8), "alone.png")
    with pytest.raises(FileNotFoundError, match=r"1 of 3 label maps .* have no image .*: alone\."):
        build(root)


def test_no_images(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no images in .*images/train.*Set data_root"):
        build(tmp_path)


def test_two_files_of_one_name(root):
    (root / "images" / "train" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.JPG and .*a\.png have one name"):
        build(root)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(classes="road"), TypeError, r"got the string 'road'; .*\('road',\)"),
        (dict(classes=("a", "a")), ValueError, "classes must differ"),
        (dict(palette=[(0, 0, 0)]), ValueError, "palette must have one colour .* 2 classes, got 1"),
        (dict(label_colors=COLORS[:1]), ValueError, "label_colors must have one colour"),
        (dict(palette=(300, 0, 0)), ValueError, r"palette must hold RGB .* 0\.\.255.*, got 300"),
        (dict(palette=[(300, 0, 0)] * 2), ValueError, r"palette .* got \(300, 0, 0\)"),
        (dict(palette=5), ValueError, "palette .* got 5"),
        (dict(palette=np.array(5)), ValueError, r"palette .* got array\(5\)"),
        (dict(palette=np.zeros((2, 3))), ValueError, r"palette .* got array\(\[0\., 0"),
        (dict(palette=[(0.0, 0, 0), (1, 1, 1)]), ValueError, r"palette .* got \(0\.0, 0, 0\)"),
        (dict(palette=dict.fromkeys(COLORS)), ValueError, r"palette .* got \{"),
        (dict(palette=[{0: 1, 1: 1, 2: 1}] * 2), ValueError, r"palette .* got \{0: 1"),
        (dict(label_colors=["red", "tan"]), ValueError, "label_colors .* got 'red'"),
        (
            dict(label_colors=[(0, 0, 0, 255)] * 2),
            ValueError,
            r"label_colors .* got \(0, 0, 0, 255",
        ),
        (dict(label_colors=COLORS, void_colors=(0, 0, 0)), ValueError, "void_colors .* got 0"),
        (dict(label_colors=COLORS, void_colors=[(0, 0.5, 0)]), ValueError, r"void_colors .* 0\.5"),
        (
            dict(label_values=["{0:0", "255:1}"]),
            ValueError,
            r"label_values .* \[\(0, 0\), \(255, 1\)\], got \['{0:0', '255:1}'\]",
        ),
        (dict(label_values=255), ValueError, "label_values .* got 255"),
        (dict(label_values=["ab", "cd"]), ValueError, r"label_values .* got \['ab', 'cd'\]"),
        (dict(label_values=[(0, 0.5)]), ValueError, r"label_values .* got \[\(0, 0\.5\)\]"),
        (dict(label_values={"0": 0}), ValueError, "label_values .* got {'0': 0}"),
        (dict(label_colors=COLORS, label_values={}), ValueError, "not both"),
        (dict(label_colors=COLORS, void_colors=COLORS[:1]), ValueError, "must differ"),
        (dict(void_colors=COLORS), ValueError, "void_colors .* give label_colors"),
        (
            dict(label_colors=COLORS, reduce_zero_label=True),
            ValueError,
            "reduce_zero_label=True .* take it out",
        ),
    ],
)
def test_bad_options(root, options, error, message):
    with pytest.raises(error, match=message):
        build(root, **options)
