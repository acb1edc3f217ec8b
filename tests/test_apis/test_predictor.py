"""NumPy in, NumPy out; files, folders, videos; huge images in bounded memory."""

import importlib.util
import json
import tracemalloc

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmengine.config import Config, ConfigDict
from mmseg.datasets.transforms import LoadImageFromNDArray
from mmseg.registry import MODELS
from PIL import Image

from mmseg_papers.__main__ import main
from mmseg_papers.apis import (
    Prediction,
    Predictor,
    find_files,
    load_model,
    predict_files,
    predict_huge_image,
)
from mmseg_papers.apis import predictor as predictor_module
from mmseg_papers.apis.huge_image import WindowReader
from mmseg_papers.apis.predictor import dataset_meta
from mmseg_papers.datasets import CamVidDataset
from mmseg_papers.datasets.transforms.loading import StrictLoadImageFromFile

CLASSES = ("dark", "green", "red")


@MODELS.register_module()
class ColourBackbone(torch.nn.Module):
    """The image itself, so that predictions can be told by hand."""

    def forward(self, x):
        return (x,)


def config(**dataset):
    preprocessor = dict(
        type="SegDataPreProcessor", mean=[0.0] * 3, std=[255.0] * 3, bgr_to_rgb=True
    )
    head = dict(
        type="FCNHead",
        in_channels=3,
        in_index=0,
        channels=3,
        num_convs=0,
        concat_input=False,
        num_classes=3,
        loss_decode=dict(type="CrossEntropyLoss"),
    )
    model = dict(
        type="FusedEncoderDecoder",
        backbone=dict(type="ColourBackbone"),
        decode_head=head,
        data_preprocessor=preprocessor,
        test_cfg=dict(mode="whole"),
    )
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations"),
        dict(type="PackSegInputs"),
    ]
    own = dict(type="FolderDataset", classes=CLASSES, pipeline=pipeline)
    return Config(dict(model=model, test_dataloader=dict(dataset={**own, **dataset})))


@pytest.fixture
def checkpoint(tmp_path):
    """Weights that score darkness, green and red."""
    model = MODELS.build(config().model)
    conv = model.decode_head.conv_seg
    conv.weight.data = torch.tensor([[0.0, 0, 0], [0, 9, 0], [9, 0, 0]]).view(3, 3, 1, 1)
    conv.bias.data = torch.tensor([4.5, 0, 0])
    file = tmp_path / "weights.pth"
    torch.save(dict(state_dict=model.state_dict()), file)
    return file


@pytest.fixture
def predictor(checkpoint):
    return Predictor(config(), checkpoint, "cpu")


def picture(height=8, width=12):
    """Red on the left, green on the right, black below; BGR."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2, 2] = 255
    image[: height // 2, width // 2 :, 1] = 255
    return image


def expected(image):
    return np.where(image[..., 2] > 127, 2, np.where(image[..., 1] > 127, 1, 0)).astype(np.uint8)


def test_numpy_in_numpy_out(predictor):
    image = picture()
    prediction = predictor(image)
    assert prediction.labels.dtype == np.uint8
    np.testing.assert_array_equal(prediction.labels, expected(image))
    logits = torch.tensor([4.5, 0.0, 9.0])
    np.testing.assert_allclose(prediction.confidence[0, 0], logits.softmax(0)[2], rtol=1e-5)
    dark, green, red = ({row["class"]: row for row in prediction.table()}[name] for name in CLASSES)
    assert (dark["pixels"], green["share"], red["index"]) == (48, 0.25, 2)
    assert prediction.table()[0]["class"] == "dark"
    assert prediction.overlay(image, opacity=0.0).tolist() == image.tolist()
    colors = np.asarray(prediction.palette)[prediction.labels][..., ::-1]
    np.testing.assert_array_equal(prediction.overlay(image, opacity=1.0), colors)


def test_mixed_sizes_in_one_batch(predictor):
    images = [picture(), picture(9, 5), picture()]
    for image, prediction in zip(images, predictor.batch(images), strict=True):
        np.testing.assert_array_equal(prediction.labels, expected(image))


def test_batches_of_any_kind(predictor):
    images = np.stack([picture(), picture()[::-1]])
    for batch in (images, (image for image in images)):
        labels = [prediction.labels for prediction in predictor.batch(batch)]
        np.testing.assert_array_equal(labels, [expected(image) for image in images])
    with pytest.raises(ValueError, match=r"must be \(N, H, W, C\), got shape \(8, 12, 3\)"):
        list(predictor.batch(images[0]))


@pytest.mark.parametrize("build", [Predictor, load_model])
def test_a_config_of_ours_is_not_changed(checkpoint, build):
    ours = config()
    before = ours.pretty_text
    build(ours, checkpoint, "cpu")
    assert ours.pretty_text == before


def test_devices_may_be_numbers(checkpoint, monkeypatch):
    """0 is the first GPU, not the absence of a choice."""
    devices = []

    def load(config, checkpoint, device):
        devices.append(device)
        return load_model(config, checkpoint, "cpu")

    monkeypatch.setattr(predictor_module, "load_model", load)
    Predictor(config(), checkpoint, 0)
    assert devices == [0]


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint32", "int64", "float16", ">u2"])
def test_types_that_opencv_cannot_resize(checkpoint, tmp_path, dtype):
    resizing = config()
    pipeline = resizing.test_dataloader.dataset.pipeline
    pipeline.insert(1, dict(type="Resize", scale=(24, 16)))
    predictor = Predictor(resizing, checkpoint, "cpu")
    image = picture() // 2
    np.save(tmp_path / "a.npy", image.astype(dtype))
    labels = predictor(image).labels
    np.testing.assert_array_equal(predictor(image.astype(dtype)).labels, labels)
    predict_files(predictor, tmp_path / "a.npy", tmp_path)
    written = cv2.imread(str(tmp_path / "labels" / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written, labels)


def test_more_classes_than_a_byte_counts(tmp_path):
    many = config(classes=[f"class {i}" for i in range(300)])
    many.model.decode_head.num_classes = 300
    with pytest.warns(UserWarning, match="weights are random"):
        predictor = Predictor(many, device="cpu")
    predictor.model.decode_head.conv_seg.bias.data[299] = 1e4
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    predict_files(predictor, tmp_path / "a.png", tmp_path)
    predict_huge_image(predictor, tmp_path / "a.png", tmp_path / "a.tif")
    written = cv2.imread(str(tmp_path / "labels" / "a.png"), cv2.IMREAD_UNCHANGED)
    for labels in (written, tifffile.imread(tmp_path / "a.tif"), predictor(picture()).labels):
        assert labels.dtype == np.uint16
        assert (labels == 299).all()


def test_names_of_the_checkpoint_come_first(checkpoint):
    loaded = torch.load(checkpoint, weights_only=True)
    names = dict(classes=("a", "b", "c"), palette=[[1, 2, 3]] * 3)
    torch.save(dict(loaded, meta=dict(dataset_meta=names)), checkpoint)
    predictor = Predictor(config(), checkpoint, "cpu")
    assert predictor.classes == ("a", "b", "c")
    assert predictor.palette == [[1, 2, 3]] * 3


def test_a_checkpoint_whose_meta_is_none(checkpoint):
    torch.save(dict(torch.load(checkpoint, weights_only=True), meta=None), checkpoint)
    assert Predictor(config(), checkpoint, "cpu").classes == CLASSES


def test_published_weights_may_lack_the_auxiliary_head(checkpoint):
    with_auxiliary = config()
    with_auxiliary.model.auxiliary_head = dict(with_auxiliary.model.decode_head)
    image = picture()
    labels = Predictor(with_auxiliary, checkpoint, "cpu")(image).labels
    np.testing.assert_array_equal(labels, expected(image))


def test_pipeline_of_the_first_of_several_data_sets(checkpoint):
    wrapped = config()
    own = wrapped.test_dataloader.dataset
    repeated = dict(type="RepeatDataset", dataset=own, times=1)
    wrapped.test_dataloader.dataset = dict(type="ConcatDataset", datasets=[repeated, own])
    image = picture()
    labels = Predictor(wrapped, checkpoint, "cpu")(image).labels
    np.testing.assert_array_equal(labels, expected(image))


def test_transforms_by_scope(checkpoint):
    scoped = config()
    steps = scoped.test_dataloader.dataset.pipeline
    steps.insert(1, dict(type="mmseg.LoadAnnotations"))
    image = picture()
    labels = Predictor(scoped, checkpoint, "cpu")(image).labels
    np.testing.assert_array_equal(labels, expected(image))


@pytest.mark.parametrize("image", [None, [[0, 1]], np.zeros((0, 3, 3)), np.zeros(3)])
def test_no_image(predictor, image):
    with pytest.raises(ValueError, match="image must be an array"):
        predictor(image)


def test_refuses(checkpoint):
    with pytest.raises(FileNotFoundError, match=r"neither none\.pth nor none\.pth\.index"):
        Predictor(config(), "none.pth")
    with pytest.raises(ValueError, match="model has 3 classes and its data set 2"):
        Predictor(config(classes=("a", "b")), checkpoint, "cpu")
    with pytest.warns(UserWarning, match="weights are random"):
        Predictor(config(), device="cpu")


def write_video(file, frames, rate=10.0, size=(32, 48)):
    codec = "mp4v" if file.suffix == ".mp4" else "MJPG"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*codec), rate, size[::-1])
    for _ in range(frames):
        writer.write(picture(*size))
    writer.release()


def test_files_folders_patterns_videos(checkpoint, tmp_path, capsys):
    folder = tmp_path / "in put"
    (folder / "deeper").mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), picture())
    cv2.imwrite(str(folder / "deeper" / "b.bmp"), picture(9, 5))
    write_video(folder / "c.mp4", 5)
    (folder / "notes.txt").write_text("no image")
    config_file = tmp_path / "mine.py"
    config().dump(config_file)
    argv = ["predict", str(config_file), str(checkpoint), str(folder), str(folder / "*.png")]
    out = tmp_path / "out"
    assert main([*argv, "--out", str(out), "--batch-size", "2", "--device", "cpu"]) == 0
    written = sorted(str(f.relative_to(out)) for f in out.rglob("*") if f.is_file())
    assert written == [
        "classes.json",
        "confidence/a.png",
        "confidence/b.png",
        "labels/a.png",
        "labels/b.png",
        "overlay/a.png",
        "overlay/b.png",
        "overlay/c.mp4",
    ]
    for name, image in (("a", picture()), ("b", picture(9, 5))):
        labels = cv2.imread(str(out / "labels" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(labels, expected(image))
    tables = json.loads((out / "classes.json").read_text())
    assert tables[str(folder / "a.png")][0]["class"] == "dark"
    assert sum(row["pixels"] for row in tables[str(folder / "c.mp4")]) == 5 * 32 * 48
    video = cv2.VideoCapture(str(out / "overlay" / "c.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert "a.png: dark 50%" in capsys.readouterr().out


def test_a_bad_opacity_harms_no_film(predictor, tmp_path):
    write_video(tmp_path / "a.avi", 3)
    predict_files(predictor, [tmp_path / "a.avi"], tmp_path / "out")
    before = (tmp_path / "out" / "overlay" / "a.mp4").read_bytes()
    with pytest.raises(ValueError, match=r"opacity must be in .*got 50"):
        predict_files(predictor, [tmp_path / "a.avi"], tmp_path / "out", opacity=50)
    assert (tmp_path / "out" / "overlay" / "a.mp4").read_bytes() == before


@pytest.mark.parametrize(("rate", "written"), [(29.97, 29.97), (239.234, 239.23)])
def test_rates_that_mpeg4_lacks_are_rounded(predictor, tmp_path, rate, written):
    write_video(tmp_path / "a.avi", 3, rate)
    predict_files(predictor, [tmp_path / "a.avi"], tmp_path / "out")
    video = cv2.VideoCapture(str(tmp_path / "out" / "overlay" / "a.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(written, rel=1e-5)
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_a_film_that_mpeg4_cannot_hold(predictor, tmp_path):
    write_video(tmp_path / "wide.avi", 2, size=(16, 8200))
    with pytest.raises(ValueError, match=r"wide\.avi of 8200 x 16 .* cannot be written"):
        predict_files(predictor, [tmp_path / "wide.avi"], tmp_path / "out")


@pytest.mark.parametrize("out", ["out", "."])
def test_results_are_not_predicted_again(predictor, tmp_path, out):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    for _ in range(2):
        files = find_files([str(tmp_path)], tmp_path / out)
        assert files == [tmp_path / "a.png"]
        predict_files(predictor, files, tmp_path / out)


def test_linked_folders_and_patterns(tmp_path):
    for name in ("photos/a.png", "photos/sub/b.png", "elsewhere/deeper/c.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name), picture())
    photos = tmp_path / "photos"
    (photos / "link").symlink_to(tmp_path / "elsewhere")
    (photos / "again").symlink_to(photos / "sub")
    (tmp_path / "elsewhere" / "loop").symlink_to(photos)
    found = [file.relative_to(photos).as_posix() for file in find_files([str(photos)])]
    assert found == ["a.png", "link/deeper/c.png", "sub/b.png"]
    assert find_files([str(photos / "*")]) == [photos / "a.png"]


def test_one_source_alone(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    for source in (str(tmp_path), tmp_path, str(tmp_path / "*.png"), [tmp_path / "a.png"]):
        assert find_files(source, str(tmp_path / "out")) == [tmp_path / "a.png"]
    with pytest.raises(FileNotFoundError, match="none is no file"):
        find_files(tmp_path / "none")


def test_hidden_files_are_found_by_name_alone(tmp_path):
    for name in ("a.png", "._a.png", ".checkpoints/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), picture())
    assert find_files([str(tmp_path)]) == [tmp_path / "a.png"]
    assert find_files([str(tmp_path / "._a.png")]) == [tmp_path / "._a.png"]


def test_packaged_name():
    with pytest.warns(UserWarning, match="weights are random"):
        predictor = Predictor("espnetv2-s2_1xb8-20k_camvid-180x240", device="cpu")
    assert len(predictor.classes) == 11


def test_void_class_may_win():
    with pytest.warns(UserWarning, match="weights are random"):
        predictor = Predictor("espnetv2-s2_4xb4-120k_cityscapes-256x512", device="cpu")
    assert len(predictor.classes) == len(predictor.palette) == 20
    labels = np.full((2, 3), 19, np.uint8)
    prediction = Prediction(labels, None, predictor.classes, predictor.palette)
    assert [row["class"] for row in prediction.table()] == ["void"]
    assert not prediction.overlay(np.full((2, 3, 3), 9, np.uint8), opacity=1).any()


def test_files_are_loaded_as_for_testing(checkpoint, tmp_path):
    options = config()
    options.test_dataloader.dataset.pipeline[0].color_type = "unchanged"
    predictor = Predictor(options, checkpoint, "cpu")
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 6), 3000, np.uint16))
    predictor.batch = lambda images: [Prediction(*predicted(images[0]))]

    def predicted(image):
        assert image.max() == 3000
        return np.zeros(image.shape[:2], np.uint8), None, ["a"], [[0, 0, 0]]

    predict_files(predictor, [tmp_path / "a.png"], tmp_path / "out")
    assert (tmp_path / "out" / "overlay" / "a.png").exists()


def test_overlay_of_floats_as_they_were():
    image = np.arange(100, 106, dtype=np.uint8).reshape(1, 2, 3)
    prediction = Prediction(np.zeros((1, 2), np.uint8), None, ["a"], [[0, 0, 0]])
    for loaded in (image, image.astype(np.float32)):  # to_float32=True
        assert np.array_equal(prediction.overlay(loaded, opacity=0), image)


def test_files_from_a_generator(predictor, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    files = (str(tmp_path / name) for name in ("a.png",))
    assert len(predict_files(predictor, files, str(tmp_path / "out"))) == 1


def test_overlay_of_bands():
    image = np.zeros((1, 2, 4), np.uint16)
    image[0, 1] = [0, 0, 0, 40000]
    prediction = Prediction(np.zeros((1, 2), np.uint8), None, ["a"], [[0, 0, 0]])
    picture = prediction.overlay(image, opacity=0.5, bands=(3, 1, 0))  # BGR
    assert picture.tolist() == [[[0, 0, 0], [0, 0, 128]]]
    assert prediction.overlay(image[..., 3], opacity=0).tolist() == [[[0] * 3, [255] * 3]]
    with pytest.raises(ValueError, match=r"channels of the images, 0 to 3, got \(4, 1, 0\)"):
        prediction.overlay(image, bands=(4, 1, 0))
    with pytest.raises(ValueError, match=r"opacity must be in \[0, 1\], got -1"):
        prediction.overlay(image, opacity=-1)
    with pytest.raises(ValueError, match=r"\(H, W\) = \(1, 2\), got shape \(1, 1, 4\)"):
        prediction.overlay(image[:, :1])
    assert prediction in [None, prediction]


def test_no_images(predictor):
    assert list(predictor.batch([])) == []


def test_bad_files(predictor, checkpoint, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="nowhere is no file"):
        find_files(["nowhere"])
    for name in ("x/a.png", "y/a.png"):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), picture())
    with pytest.raises(FileExistsError, match="would both be written as a"):
        predict_files(predictor, find_files([str(tmp_path)]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8")
    config_file = tmp_path / "mine.py"
    config().dump(config_file)
    assert main(["predict", str(config_file), str(checkpoint), str(broken)]) == 1
    assert f"image {broken} cannot be loaded" in capsys.readouterr().err
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"broken\.mp4 cannot be read"):
        predict_files(predictor, [broken], tmp_path / "out")


def huge(path, height, width):
    image = np.random.default_rng(0).integers(0, 2, (-(-height // 16), -(-width // 16), 3))
    image = image.repeat(16, 0).repeat(16, 1)[:height, :width].astype(np.uint8) * 255
    if path.suffix == ".npy":
        np.save(path, image)
    elif path.suffix == ".png":
        cv2.imwrite(str(path), image)
    else:  # RGB in the file
        options = dict(tile=(128, 256)) if "tiled" in path.name else dict(rowsperstrip=40)
        tifffile.imwrite(path, image[..., ::-1], photometric="rgb", compression="zlib", **options)
    return image


@pytest.mark.parametrize("name", ["a.npy", "a.png", "tiled.tif", "strips.tif"])
def test_huge_image(predictor, tmp_path, name):
    image = huge(tmp_path / name, 530, 1100)
    reader = WindowReader(tmp_path / name)
    np.testing.assert_array_equal(reader.read(37, 301, 250, 999), image[37:301, 250:999])
    predict_huge_image(predictor, tmp_path / name, tmp_path / "labels.tif", margin=32)
    labels = tifffile.imread(tmp_path / "labels.tif")
    np.testing.assert_array_equal(labels, predictor(image).labels)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("kind", ["planes", "pages", "pages and a mask", "pyramid"])
def test_bands_of_a_tiff(tmp_path, kind):
    bands = np.random.default_rng(0).integers(0, 255, (3, 70, 90), np.uint8)
    options = dict(photometric="minisblack")
    if kind == "planes":
        options = dict(photometric="rgb", planarconfig="separate")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        if kind == "pyramid":
            file.write(bands.transpose(1, 2, 0), photometric="rgb", tile=(32, 48))
            file.write(bands[:, ::2, ::2].transpose(1, 2, 0), photometric="rgb", subfiletype=1)
        else:
            file.write(bands, tile=(32, 48), **options)
        if kind == "pages and a mask":
            file.write(np.ones((70, 90), bool), subfiletype=4)
    expected = bands.transpose(1, 2, 0)[10:65, 20:85]
    with WindowReader(tmp_path / "a.tif") as reader:
        window = reader.read(10, 65, 20, 85)
        handle = reader.tiff.filehandle
    np.testing.assert_array_equal(window, expected if "pages" in kind else expected[..., ::-1])
    assert handle.closed


def test_tiles_that_a_sparse_tiff_lacks(tmp_path):
    image = np.full((64, 96), 7, np.uint8)
    image[:32, :48] = 0
    tifffile.imwrite(tmp_path / "a.tif", image, tile=(32, 48))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        for tag in ("TileByteCounts", "TileOffsets"):
            values = file.pages[0].tags[tag].value
            file.pages[0].tags[tag].overwrite((0, *values[1:]))
    with WindowReader(tmp_path / "a.tif") as reader:
        np.testing.assert_array_equal(reader.read(0, 64, 0, 96)[..., 0], image)


def test_refuses_a_tiff_of_several_images(predictor, tmp_path):
    images = np.zeros((2, 20, 30, 3), np.uint8)
    tifffile.imwrite(tmp_path / "film.tif", images, photometric="rgb")
    with pytest.raises(ValueError, match=r"film\.tif holds 2 images .*; save each"):
        predict_huge_image(predictor, tmp_path / "film.tif", tmp_path / "labels.tif")


def test_memory_does_not_grow_with_the_image(predictor, tmp_path):
    peaks = []
    for factor in (1, 4):
        file = tmp_path / f"tiled{factor}.tif"
        huge(file, 512, 1024 * factor)
        tracemalloc.start()
        predict_huge_image(predictor, file, tmp_path / "labels.tif", margin=32)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


NOISE = np.random.default_rng(0).integers(0, 65536, (40, 56, 4)).astype(np.uint16)
BYTES = (NOISE >> 8).astype(np.uint8)
COLORS = NOISE[:8, :32, :3].reshape(3, 256)
ORIENTATION = 274


def write_turned_jpeg(file):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(BYTES[..., :3]).save(file, exif=exif)


def tiff(array, photometric="minisblack", **options):
    return lambda file: tifffile.imwrite(file, array, photometric=photometric, **options)


PICTURES = {
    "turned.jpg": write_turned_jpeg,
    "grey16.png": lambda file: cv2.imwrite(str(file), NOISE[..., 0]),
    "alpha.png": lambda file: cv2.imwrite(str(file), BYTES),
    "grey.npy": lambda file: np.save(file, BYTES[..., 0]),
    "grey.tif": tiff(BYTES[..., 0], tile=(32, 32)),
    "white_is_0.tif": tiff(BYTES[..., 0], "miniswhite"),
    "bits.tif": tiff(BYTES[..., 0] > 127),
    "palette.tif": tiff(BYTES[..., 0], "palette", colormap=COLORS),
    "grey16.tif": tiff(NOISE[..., 0]),
    "rgb16.tif": tiff(NOISE[..., :3], "rgb"),
    "alpha.tif": tiff(BYTES, "rgb", extrasamples=["unassalpha"]),
    "alpha16.tif": tiff(NOISE, "rgb", extrasamples=["unassalpha"]),
    "four.tif": tiff(BYTES, "rgb", extrasamples=["unspecified"]),
    "multiplied.tif": tiff(BYTES, "rgb", extrasamples=["assocalpha"]),
    "signed.tif": tiff(NOISE[..., 0].astype(np.int16)),
    "turned.tif": tiff(BYTES[..., :3], "rgb", extratags=[(ORIENTATION, "H", 1, 6, True)]),
}
REFUSED = {
    "color": {"multiplied.tif", "signed.tif", "turned.tif"},
    "unchanged": {"turned.tif"},
    "grayscale": {name for name in PICTURES if name.endswith(".tif")} - {"grey.tif"},
}


@pytest.mark.parametrize("color_type", REFUSED)
@pytest.mark.parametrize("name", PICTURES)
def test_windows_are_of_the_image_as_it_is_loaded(tmp_path, name, color_type):
    file = tmp_path / name
    PICTURES[name](file)
    load = StrictLoadImageFromFile(color_type=color_type)
    if name in REFUSED[color_type]:
        with pytest.raises(ValueError, match=rf"{name} .* cannot be read in windows .*; save it"):
            WindowReader(file, load)
        return
    image = np.atleast_3d(load(dict(img_path=str(file)))["img"])
    with WindowReader(file, load) as reader:
        assert reader.size == image.shape[:2]
        window = reader.read(7, 38, 5, 40)
    assert window.dtype == image.dtype
    np.testing.assert_array_equal(window, image[7:38, 5:40])


@pytest.mark.parametrize("name", ["turned.jpg", "rgb16.tif"])
def test_huge_image_is_loaded_as_for_testing(predictor, tmp_path, monkeypatch, name):
    file, target = tmp_path / name, tmp_path / "labels.tif"
    PICTURES[name](file)
    image = predictor.load(dict(img_path=str(file)))["img"]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    predict_huge_image(predictor, file, target)
    assert Image.MAX_IMAGE_PIXELS == 100
    np.testing.assert_array_equal(tifffile.imread(target), predictor(image).labels)


def test_another_loader(tmp_path):
    tiff(BYTES)(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif .* begins with LoadImageFromNDArray"):
        WindowReader(tmp_path / "a.tif", LoadImageFromNDArray())


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg"])
def test_compression_that_needs_imagecodecs(tmp_path, compression):
    image = BYTES[..., :3].repeat(4, 0).repeat(4, 1)
    file = tmp_path / "a.tif"
    Image.fromarray(image).save(file, compression=compression)
    with WindowReader(file) as reader:
        if importlib.util.find_spec("imagecodecs") is None:
            with pytest.raises(ImportError, match=r"a\.tif .*pip install imagecodecs"):
                reader.read(0, 90, 0, 90)
            return
        window = reader.read(0, 90, 0, 90)
    loaded = StrictLoadImageFromFile()(dict(img_path=str(file)))["img"]
    np.testing.assert_array_equal(window, loaded[:90, :90])


def test_huge_image_leaves_nothing_half_written(predictor, tmp_path):
    file = tmp_path / "tiled.tif"
    huge(file, 512, 1024)
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"tiled\.tif cannot be loaded"):
        predict_huge_image(predictor, file, tmp_path / "labels.tif")
    assert [f.name for f in tmp_path.glob("labels*")] == []


@pytest.mark.parametrize("suffix", ["tif", "npy", "png"])
@pytest.mark.parametrize("content", [None, b"", b"II*\0\x08\0\0\0", b"text"])
def test_huge_image_that_cannot_be_read(predictor, tmp_path, suffix, content):
    file = tmp_path / f"a.{suffix}"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.{suffix} cannot be loaded: (?!.*(index|pickle))"):
        predict_huge_image(predictor, file, tmp_path / "labels.tif")


def test_huge_array_of_one_axis(predictor, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(5))
    with pytest.raises(ValueError, match=r"a\.npy .* no image .* shape \(5,\)"):
        predict_huge_image(predictor, tmp_path / "a.npy", tmp_path / "labels.tif")


def test_huge_image_refuses(predictor, checkpoint, tmp_path):
    with pytest.raises(ValueError, match=r"target must end in \.tif"):
        predict_huge_image(predictor, "a.tif", "labels.png")
    with pytest.raises(ValueError, match="margin must be at least 0, got -1"):
        predict_huge_image(predictor, "a.tif", "labels.tif", margin=-1)
    resizing = config()
    resizing.test_dataloader.dataset.pipeline.insert(1, dict(type="Resize", scale=(64, 64)))
    with pytest.raises(ValueError, match="Resize, which would resize every window"):
        predict_huge_image(Predictor(resizing, checkpoint, "cpu"), "a.tif", tmp_path / "b.tif")


def test_a_data_set_that_is_a_class():
    assert dataset_meta(ConfigDict(type=CamVidDataset)) == CamVidDataset.METAINFO
