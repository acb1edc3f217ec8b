"""Each fault that makes a model learn nothing is found, with the setting to change."""

import importlib.util
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmseg_papers.apis.configs import packaged_configs

FILE = Path(__file__).parents[2] / "tools" / "analysis_tools" / "check_dataset.py"
CONFIG = packaged_configs()["hrnetv2_w18-small-v2_1xb4-4k_own-512x512"]
CLASSES = ("road", "car", "tree")


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("check_dataset", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(root, labels):
    """Two images of noise in each split, and what ``labels(split, i)`` gives as their label map."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for i in range(2):
            image = root / "images" / split / f"{i}.jpg"
            label = root / "annotations" / split / f"{i}.png"
            for file, array in (
                (image, rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)),
                (label, labels(split, i)),
            ):
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), array)


def stripes(*values):
    """A label map of 20 x 30 pixels with equal shares of the values."""
    return np.repeat(np.array(values, np.uint8), 30 // len(values))[None].repeat(20, axis=0)


def run(tool, root, capsys, classes=CLASSES, **options):
    arguments = [str(CONFIG), "--out", str(root / "out"), "--cfg-options"]
    arguments.append(f"model.decode_head.num_classes={len(classes)}")
    for split in ("train", "val"):
        dataset = f"{split}_dataloader.dataset"
        arguments += [f"{dataset}.data_root={root}", f"{dataset}.classes={list(classes)}"]
        arguments += [f"{dataset}.{key}={value}" for key, value in options.items()]
    status = tool.main([argument.replace("'", "") for argument in arguments])
    return status, capsys.readouterr().out.replace("\n", " ")


def run_config(tool, config, root, capsys):
    config.dump(root / "config.py")
    status = tool.main([str(root / "config.py"), "--out", str(root / "out")])
    return status, capsys.readouterr().out


def test_sound_data(tool, tmp_path, capsys):
    write(tmp_path, lambda split, i: stripes(0, 1, 1, 1, 2, 255))
    status, printed = run(tool, tmp_path, capsys)
    assert status == 0
    assert "no fault found" in printed
    # Shares 1/6, 3/6, 1/6 of every image: the median over each.
    assert "class_weight = [1.0, 0.3333, 1.0]" in printed
    assert "label_counts = [200, 600, 200]" in printed
    for split in ("train", "val"):
        sheet = cv2.imread(str(tmp_path / "out" / f"{split}.png"))
        assert sheet.shape[1] > 1000
        assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 100


def test_grey_with_alpha_counts_and_loads_as_grey(tool, tmp_path, capsys):
    write(tmp_path, lambda split, i: stripes(0, 1, 1, 1, 2, 255))
    expected = run(tool, tmp_path, capsys)
    for file in (tmp_path / "annotations").rglob("*.png"):
        grey = Image.open(file)
        grey.putalpha(Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30)))
        grey.save(file)
    assert run(tool, tmp_path, capsys) == expected
    assert expected[0] == 0


def test_a_white_class_is_seen_in_the_legend(tool, tmp_path, capsys, monkeypatch):
    write(tmp_path, lambda split, i: stripes(0, 1))
    figures = []
    monkeypatch.setattr(tool.plt, "close", figures.append)
    run(tool, tmp_path, capsys, classes=("a", "b"), palette="[(0,0,0),(255,255,255)]")
    for figure in figures:
        white = figure.legends[0].get_patches()[1]
        assert white.get_facecolor() == (1, 1, 1, 1)
        assert white.get_edgecolor() != (1, 1, 1, 1)


def test_class_uniform_sampling(tool, tmp_path, capsys):
    write(tmp_path, lambda split, i: stripes(0, 1, 7) if split == "train" else stripes(0, 1))
    config = Config.fromfile(CONFIG)
    config.train_dataloader.sampler = dict(type="ClassUniformSampler")
    for split in ("train", "val"):
        config[f"{split}_dataloader"].dataset.update(data_root=str(tmp_path), classes=("a", "b"))
    members = [config.train_dataloader.dataset]
    config.train_dataloader.dataset = dict(type="ClassUniformDataset", datasets=members)
    status, printed = run_config(tool, config, tmp_path, capsys)
    assert status == 1
    assert "train: labels outside the 2 classes 0..1: 7 (400 pixels)" in printed
    assert "label_counts = [400, 400]" in printed
    assert (tmp_path / "out" / "train.png").exists()


def test_repeated_and_joined_data(tool, tmp_path, capsys):
    write(tmp_path, lambda split, i: stripes(0, 1))
    config = Config.fromfile(CONFIG)
    for split in ("train", "val"):
        config[f"{split}_dataloader"].dataset.update(data_root=str(tmp_path), classes=("a", "b"))
    one = config.train_dataloader.dataset
    repeated = dict(type="RepeatDataset", dataset=one, times=3)
    config.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[repeated, one])
    config.val_dataloader.dataset = dict(
        type="RepeatDataset", dataset=config.val_dataloader.dataset, times=2
    )
    status, printed = run_config(tool, config, tmp_path, capsys)
    assert status == 0, printed
    assert "label_counts = [1200, 1200]" in printed


@pytest.mark.parametrize("kind", ["ConcatDataset", "ClassUniformDataset"])
def test_parts_of_a_split_count_together(tool, tmp_path, capsys, kind):
    """Each part lacks a class, and the second one has less of what both hold."""
    parts = {"one": (0, 1, 1), "two": (0, 2, 255)}
    for name, values in parts.items():
        write(tmp_path / name, lambda split, i, values=values: stripes(*values))
    config = Config.fromfile(CONFIG)
    config.model.decode_head.num_classes = len(CLASSES)
    for split, wrapper in (("train", kind), ("val", "ConcatDataset")):
        one = config[f"{split}_dataloader"].dataset
        members = [dict(one, data_root=str(tmp_path / name), classes=CLASSES) for name in parts]
        config[f"{split}_dataloader"].dataset = dict(type=wrapper, datasets=members)
    status, printed = run_config(tool, config, tmp_path, capsys)
    assert status == 0, printed
    assert "label_counts = [800, 800, 400]" in printed
    # Shares 1/3, 2/3, 1/3 of the images that hold the class.
    assert "class_weight = [1.0, 0.5, 1.0]" in printed
    assert printed.count("images of 4") == 2


def test_a_split_without_label_maps(tool, tmp_path, capsys):
    write(tmp_path, lambda split, i: stripes(0, 1))
    config = Config.fromfile(CONFIG)
    for split in ("train", "val"):
        config[f"{split}_dataloader"].dataset.update(data_root=str(tmp_path), classes=("a", "b"))
    del config.val_dataloader.dataset.data_prefix["seg_map_path"]
    status, printed = run_config(tool, config, tmp_path, capsys)
    assert status == 1
    assert "val: has no label maps; set data_prefix.seg_map_path" in printed
    assert "label_counts = [600, 600]" in printed


def test_a_training_without_validation(tool, tmp_path, capsys):
    write(tmp_path, lambda split, i: stripes(0, 1))
    config = Config.fromfile(CONFIG)
    config.train_dataloader.dataset.update(data_root=str(tmp_path), classes=("a", "b"))
    config.val_dataloader = None
    status, printed = run_config(tool, config, tmp_path, capsys)
    assert status == 0, printed
    assert "label_counts = [600, 600]" in printed
    assert not (tmp_path / "out" / "val.png").exists()


def test_only_training_data_give_weights(tool, tmp_path, capsys):
    write(tmp_path, lambda split, i: stripes(0, 1))
    for file in (tmp_path / "annotations" / "train").iterdir():
        file.write_bytes(b"")
    status, printed = run(tool, tmp_path, capsys)
    assert status == 1
    assert "val: no pixel of tree: its IoU there is nan" in printed
    assert "class_weight" not in printed


def test_bands_and_numpy_files(tool, tmp_path, capsys):
    """Two bands of 16 bits, and label maps with one channel and a suffix in upper case."""
    write(tmp_path, lambda split, i: stripes(0, 1, 2))
    ramp = np.linspace(0, 60000, 20 * 30).reshape(20, 30).astype(np.uint16)
    for split in ("train", "val"):
        for i in range(2):
            (tmp_path / "images" / split / f"{i}.jpg").unlink()
            np.save(tmp_path / "images" / split / f"{i}.npy", np.dstack([ramp, ramp]))
            (tmp_path / "annotations" / split / f"{i}.png").unlink()
            label = tmp_path / "annotations" / split / f"{i}.npy"
            np.save(label, stripes(0, 1, 2)[..., None])
            label.rename(label.with_suffix(".NPY"))
    status, printed = run(tool, tmp_path, capsys)
    assert status == 0, printed
    assert (tmp_path / "out" / "train.png").exists()
    drawn = tool.picture_of_array(ramp).astype(int)
    assert drawn.shape == (20, 30, 3)
    assert (np.diff(drawn[..., 0].ravel()) >= 0).all()
    assert drawn.min() == 0
    assert drawn.max() == 255


def test_reduced_labels_that_one_split_lacks(tool, tmp_path, capsys):
    write(tmp_path, lambda split, i: stripes(0, 1, 2) if split == "val" else stripes(0, 1, 2, 3, 3))
    status, printed = run(tool, tmp_path, capsys, reduce_zero_label=True)
    assert status == 1
    assert "val: no pixel of tree" in printed
    assert "reduce_zero_label" not in printed


FAULTS = {
    "0 and 255": (
        lambda split, i: stripes(0, 255),
        dict(classes=("ground", "roof")),
        "nothing but ground would be trained.*label_values=\\[\\(0, 0\\), \\(255, 1\\)\\]",
    ),
    "colours": (
        lambda split, i: np.dstack([stripes(0, 128), stripes(0, 64), stripes(0, 32)]),
        {},
        r"2 label maps are colour pictures.*Set label_colors.*\(32, 64, 128\)",
    ),
    "from 1": (
        lambda split, i: stripes(1, 2, 3),
        {},
        "labels are 1..3, and 3 classes are 0..2. Set reduce_zero_label=True",
    ),
    "reduced, but from 0": (
        lambda split, i: stripes(0, 1, 2),
        dict(reduce_zero_label=True),
        r"reduce_zero_label=True makes label 0 'no class' \(33%.*road is lost.*=False",
    ),
    "outside": (
        lambda split, i: stripes(0, 1, 2, 7, 9),
        {},
        r"labels outside the 3 classes 0..2: 7 \(240 pixels\), 9.*label_values",
    ),
    "absent from train": (
        lambda split, i: stripes(0, 1, 2) if split == "val" else stripes(0, 1),
        {},
        "train: no pixel of tree: the model cannot learn it",
    ),
    "absent from val": (
        lambda split, i: stripes(0, 1, 2) if split == "train" else stripes(0, 2),
        {},
        "val: no pixel of car: its IoU there is nan",
    ),
    "another size": (
        lambda split, i: stripes(0, 1, 2)[: 20 - i],
        {},
        r"label map .*1\.png is 30 x 19 and its image .*1\.jpg is 30 x 20",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults(tool, tmp_path, capsys, fault):
    labels, options, message = FAULTS[fault]
    write(tmp_path, labels)
    status, printed = run(tool, tmp_path, capsys, **options)
    assert status == 1
    assert re.search(message, printed), printed


def test_a_model_of_other_classes(tool, tmp_path, capsys):
    write(tmp_path, lambda split, i: stripes(0, 1))
    config = Config.fromfile(CONFIG)
    for split, classes in (("train", ("a", "b")), ("val", ("b", "a"))):
        config[f"{split}_dataloader"].dataset.update(data_root=str(tmp_path), classes=classes)
    config.model.decode_head.num_classes = 19
    config.model.auxiliary_head = dict(type="STDCHead", num_classes=2)  # of edges
    status, printed = run_config(tool, config, tmp_path, capsys)
    assert status == 1
    assert "model.decode_head.num_classes=19, but train has 2 classes; set num_classes=2" in printed
    assert "val: the classes are b, a, those of train a, b; give both the same" in printed
    assert "auxiliary_head" not in printed


def test_unpaired_and_damaged_files(tool, tmp_path, capsys):
    write(tmp_path, lambda split, i: stripes(0, 1, 2))
    (tmp_path / "annotations" / "train" / "1.png").unlink()
    image = tmp_path / "images" / "val" / "0.jpg"
    label = tmp_path / "annotations" / "val" / "1.png"
    image.write_bytes(b"")
    label.write_bytes(label.read_bytes()[:60])
    status, printed = run(tool, tmp_path, capsys)
    assert status == 1
    assert "1 of 2 images" in printed
    assert str(image) in printed
    assert str(label) in printed


@pytest.mark.parametrize(
    ("options", "channels"),
    [
        (dict(label_values=[(0, 0), (255, 1)]), 1),
        (dict(label_colors=[(0, 0, 0), (255, 255, 255)]), 3),
        (dict(label_colors=[(0, 0, 0), (255, 255, 255)]), 1),
    ],
    ids=["values", "colours", "colours that are grey"],
)
def test_the_named_setting_mends_it(tool, tmp_path, capsys, options, channels):
    array = np.dstack([stripes(0, 255)] * channels)
    write(tmp_path, lambda split, i: array)
    options = {key: str(value).replace(" ", "") for key, value in options.items()}
    status, printed = run(tool, tmp_path, capsys, classes=("ground", "roof"), **options)
    assert status == 0, printed
    assert "label_counts = [600, 600]" in printed
