"""Images and label maps that cannot be used are refused by file name."""

import cv2
import numpy as np
import pytest
import tifffile
from mmcv.transforms import LoadImageFromFile, Resize
from mmengine.dataset import Compose

from mmseg_papers.apis.huge_image import WindowReader
from mmseg_papers.datasets import StrictLoadAnnotations, StrictLoadImageFromFile


@pytest.fixture
def files(tmp_path):
    rng = np.random.RandomState(0)
    image, label = tmp_path / "image.jpg", tmp_path / "label.png"
    cv2.imwrite(str(image), rng.randint(0, 255, (40, 60, 3), np.uint8))
    cv2.imwrite(str(label), rng.randint(0, 5, (40, 60), np.uint8))
    return image, label


def load(files, num_classes=5, **results):
    pipeline = Compose(
        [
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(30, 20)),  # as in test pipelines: the image, not its labels
            dict(type="LoadAnnotations", num_classes=num_classes),
        ]
    )
    return pipeline(
        dict(
            img_path=str(files[0]),
            seg_map_path=str(files[1]),
            seg_fields=[],
            label_map=None,
            reduce_zero_label=False,
        )
        | results
    )


def test_loads_a_sound_pair(files):
    results = load(files)
    assert results["img"].shape == (20, 30, 3)
    np.testing.assert_array_equal(results["gt_seg_map"], cv2.imread(str(files[1]), 0))


def test_decodes_as_mmseg_does(files):
    image = StrictLoadImageFromFile()(dict(img_path=str(files[0])))["img"]
    np.testing.assert_array_equal(image, cv2.imread(str(files[0])))


def test_labels_are_not_checked_without_classes(files):
    assert load(files, num_classes=None)["gt_seg_map"].shape == (40, 60)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text"])
def test_refuses_damaged_files(files, which, damage):
    file = files[which]
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(
            {"empty": b"", "truncated": content[: len(content) * 2 // 3], "text": b"no image"}[
                damage
            ]
        )
    what = ("image", "label map")[which]
    with pytest.raises(ValueError, match=rf"^{what} .*{file.name} cannot be loaded: "):
        load(files)


def test_refuses_labels_of_another_size(files):
    cv2.imwrite(str(files[1]), np.zeros((40, 59), np.uint8))
    with pytest.raises(ValueError, match=r"label\.png is 59 x 40 and its image .* is 60 x 40"):
        load(files)


def test_refuses_labels_outside_the_classes(files):
    label = cv2.imread(str(files[1]), 0)
    label[0, :2] = 7, 255
    cv2.imwrite(str(files[1]), label)
    with pytest.raises(ValueError, match=r"label\.png holds the value\(s\) 7, outside the 5 class"):
        load(files)
    load(files, num_classes=8)


def test_refuses_coloured_labels(files):
    cv2.imwrite(str(files[1]), np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(ValueError, match=r"label\.png has shape \(40, 60, 3\)"):
        load(files)


def test_checks_after_reduce_zero_label(files):
    cv2.imwrite(str(files[1]), np.full((40, 60), 5, np.uint8))
    with pytest.raises(ValueError, match="value"):
        load(files)
    assert (load(files, reduce_zero_label=True)["gt_seg_map"] == 4).all()


def test_refuses_no_classes():
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        StrictLoadAnnotations(num_classes=0)


@pytest.mark.parametrize("color_type", ["color", "grayscale", "unchanged"])
@pytest.mark.parametrize(
    ("suffix", "shape", "dtype"),
    [("jpg", (9, 7, 3), np.uint8), ("png", (9, 7), np.uint16), ("png", (9, 7, 4), np.uint8)],
)
def test_sound_files_are_the_same_to_the_bit(tmp_path, color_type, suffix, shape, dtype):
    file = str(tmp_path / f"image.{suffix}")
    cv2.imwrite(file, np.random.RandomState(0).randint(0, np.iinfo(dtype).max, shape, dtype))
    ours = StrictLoadImageFromFile(color_type=color_type)(dict(img_path=file))
    theirs = LoadImageFromFile(color_type=color_type)(dict(img_path=file))
    np.testing.assert_array_equal(ours.pop("img"), theirs.pop("img"))
    assert ours == theirs


def test_labels_alone_can_be_loaded(files):
    results = dict(seg_map_path=str(files[1]), seg_fields=[], label_map=None)
    loaded = StrictLoadAnnotations()(dict(results, reduce_zero_label=False))
    assert loaded["gt_seg_map"].shape == (40, 60)


@pytest.mark.parametrize("channels", [1, 4, 12])
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_any_number_of_channels(tmp_path, channels, suffix):
    array = np.random.RandomState(0).randint(0, 255, (9, 7, channels), np.uint8)
    file = tmp_path / f"image{suffix}"
    if suffix == ".npy":
        np.save(file, array)
    else:
        planes = array[..., 0] if channels == 1 else array
        planar = None if channels == 1 else "contig"
        tifffile.imwrite(file, planes, photometric="minisblack", planarconfig=planar)
    loaded = StrictLoadImageFromFile(color_type="unchanged")(dict(img_path=str(file)))["img"]
    np.testing.assert_array_equal(loaded.reshape(array.shape), array)
    for size in (90, 8, 0):
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(ValueError, match=rf"image{suffix} cannot be loaded"):
            StrictLoadImageFromFile(color_type="unchanged")(dict(img_path=str(file)))


@pytest.mark.parametrize("dtype", ["int64", "float16"])
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_bands_of_any_type_can_be_resized(tmp_path, suffix, dtype):
    array = np.arange(9 * 8 * 7, dtype=dtype).reshape(9, 8, 7)
    file = tmp_path / f"image{suffix}"
    if suffix == ".npy":
        np.save(file, array)
    else:
        tifffile.imwrite(file, array, photometric="minisblack", planarconfig="contig")
    loaded = StrictLoadImageFromFile(color_type="unchanged")(dict(img_path=str(file)))
    np.testing.assert_array_equal(loaded["img"], array)
    assert Resize(scale=(16, 18))(loaded)["img"].shape == (18, 16, 7)


@pytest.mark.parametrize("color_type", ["color", "unchanged"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("photometric", "extra"),
    [("rgb", [0]), ("rgb", [1]), ("rgb", [2]), ("rgb", [0, 0]), ("minisblack", [0])],
)
def test_samples_beside_colours(tmp_path, color_type, dtype, photometric, extra):
    channels = len(extra) + (3 if photometric == "rgb" else 1)
    array = np.random.RandomState(0).randint(0, 255, (9, 7, channels)).astype(dtype)
    file = tmp_path / "image.tif"
    tifffile.imwrite(
        file, array, photometric=photometric, planarconfig="contig", extrasamples=extra
    )
    loaded = StrictLoadImageFromFile(color_type=color_type)(dict(img_path=str(file)))["img"]
    if color_type == "color" and 0 not in extra:
        assert loaded.shape[2] == 3
    else:
        np.testing.assert_array_equal(loaded, array)


def test_a_tiff_with_a_band_a_page(tmp_path):
    array = np.random.RandomState(0).randint(0, 255, (3, 9, 7), np.uint8)
    file = tmp_path / "image.tif"
    tifffile.imwrite(file, array, photometric="minisblack")
    loaded = StrictLoadImageFromFile(color_type="unchanged")(dict(img_path=str(file)))["img"]
    np.testing.assert_array_equal(loaded, array.transpose(1, 2, 0))


def test_a_tiff_with_smaller_copies(tmp_path):
    array = np.random.RandomState(0).randint(0, 255, (18, 14, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "image.tif") as file:
        file.write(array, photometric="rgb")
        file.write(array[::2, ::2], photometric="rgb", subfiletype=1)
    loaded = StrictLoadImageFromFile()(dict(img_path=str(tmp_path / "image.tif")))["img"]
    np.testing.assert_array_equal(loaded, array[..., ::-1])


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 4)])
def test_colour_augmentation_names_image_and_channels(shape):
    results = dict(img=np.zeros(shape, np.uint8), img_path="field.tif")
    with pytest.raises(ValueError, match=r"PhotoMetricDistortion needs BGR .*field\.tif has"):
        Compose([dict(type="PhotoMetricDistortion")])(results)
    results["img"] = np.full((9, 7, 3), 100, np.uint8)
    assert Compose([dict(type="PhotoMetricDistortion")])(results)["img"].shape == (9, 7, 3)


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint32", "float32"])
def test_values_of_a_picture_stay_as_mmcv_reads_them(tmp_path, dtype):
    largest = 2**20 if dtype == "float32" else np.iinfo(dtype).max
    array = largest - np.arange(12, dtype=dtype).reshape(3, 4)
    tifffile.imwrite(tmp_path / "a.tif", array)
    options, results = dict(color_type="unchanged"), dict(img_path=str(tmp_path / "a.tif"))
    got, expected = (
        loading(**options)(dict(results))["img"]
        for loading in (StrictLoadImageFromFile, LoadImageFromFile)
    )
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["contig", "separate", "png", "ppm", "pages"])
def test_colours_are_those_that_mmcv_reads(tmp_path, kind, dtype):
    """Pillow reads 16 bits otherwise, and those of separate planes wrongly."""
    array = np.random.RandomState(0).randint(0, np.iinfo(dtype).max, (9, 7, 3)).astype(dtype)
    file = tmp_path / ("a.tif" if kind not in ("png", "ppm") else f"a.{kind}")
    if kind == "pages":
        tifffile.imwrite(file, np.stack([array, array[::-1]]), photometric="rgb")
    elif file.suffix == ".tif":
        planes = array if kind == "contig" else array.transpose(2, 0, 1)
        tifffile.imwrite(file, planes, photometric="rgb", planarconfig=kind)
    else:
        cv2.imwrite(str(file), array)
    # Unchanged, OpenCV reads what it likes of separate planes of 16 bits.
    for color_type in ("color",) if kind == "separate" else ("color", "unchanged"):
        got, expected = (
            loading(color_type=color_type)(dict(img_path=str(file)))["img"]
            for loading in (StrictLoadImageFromFile, LoadImageFromFile)
        )
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


def test_pages_of_several_bands_are_refused(tmp_path):
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, np.zeros((3, 9, 7, 6), np.uint8), photometric="minisblack")
    with pytest.raises(ValueError, match=r"a\.tif .*got shape \(3, 9, 7, 6\)"):
        StrictLoadImageFromFile(color_type="unchanged")(dict(img_path=str(file)))


@pytest.mark.parametrize("name", ["pickled/a.png", "imagecodecs/a.npy"])
def test_words_of_a_path_are_no_reason(tmp_path, name):
    with pytest.raises(ValueError, match="No such file"):
        StrictLoadImageFromFile()(dict(img_path=str(tmp_path / name)))
    with pytest.raises(ValueError, match="No such file"):
        WindowReader(tmp_path / name)
