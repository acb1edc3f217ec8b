"""NYUDv2, SUN RGB-D and Person-Part: what the scripts write is what the data sets read."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from mmseg_papers.datasets import NYUDv2Dataset, PascalPersonPartDataset, SUNRGBDDataset

SCRIPTS = Path(__file__).parents[2] / "tools" / "dataset_converters"
SPLITS = {
    NYUDv2Dataset: {"train": 795, "test": 654},
    SUNRGBDDataset: {"train": 5285, "test": 5050},
    PascalPersonPartDataset: {"train": 1716, "val": 1817},
}


@pytest.fixture
def script(monkeypatch):
    """Imports a script with data sets of a few images."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name, splits):
        module = importlib.reload(importlib.import_module(name))
        monkeypatch.setattr(module, "SPLITS", splits)
        return module

    return load


@pytest.fixture
def hdf5(monkeypatch):
    """Stands for h5py: files are what was put here, by name."""
    files = {}

    class File(dict):
        def __init__(self, path):
            super().__init__(files[Path(path).name])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=File))
    return files


def assert_reads(cls, root, labels):
    """The data set finds the images of each split, and their labels are as expected."""
    for split, expected in labels.items():
        prefix = dict(img_path=f"images/{split}", seg_map_path=f"annotations/{split}")
        dataset = cls(data_root=str(root), data_prefix=prefix)
        assert len(dataset) == len(expected)
        for i, label in enumerate(expected):
            sample = dataset[i]
            assert cv2.imread(sample["img_path"]).shape[:2] == label.shape
            np.testing.assert_array_equal(cv2.imread(sample["seg_map_path"], -1), label)


@pytest.mark.parametrize("cls", SPLITS)
def test_classes(cls):
    classes, palette = cls.METAINFO["classes"], cls.METAINFO["palette"]
    number = {NYUDv2Dataset: 40, SUNRGBDDataset: 37, PascalPersonPartDataset: 7}[cls]
    assert len(set(classes)) == len({tuple(colour) for colour in palette}) == number


@pytest.mark.parametrize("cls", SPLITS)
def test_says_how_to_get_the_data(cls, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"in .*train\.\nGet .*\n.*converters/\w+\.py"):
        cls(data_root=str(tmp_path), data_prefix=dict(img_path="images/train"))


def nyu(folder, hdf5, classes=40):
    """Three images of 12 x 10 pixels with a white border of one pixel at the top and two left."""
    image = np.full((3, 10, 12, 3), 255, np.uint8)  # (N, H, W, 3)
    image[:, 1:, 2:] = 7
    label = np.zeros((3, 10, 12), np.uint16)
    label[:, 1:, 2:] = np.arange(1, 91).reshape(9, 10)
    label[:, 5, 5] = 0
    hdf5["nyu_depth_v2_labeled.mat"] = dict(
        images=image.transpose(0, 3, 2, 1), labels=label.transpose(0, 2, 1)
    )
    (folder / "nyu_depth_v2_labeled.mat").touch()
    savemat(folder / "splits.mat", dict(trainNdxs=[[1], [3]], testNdxs=[[2]]))
    mapping = np.arange(90) % classes + 1
    savemat(folder / "classMapping40.mat", dict(mapClass=mapping[None]))
    expected = (np.arange(90) % classes).reshape(9, 10)
    expected[4, 3] = 255
    return expected


def test_nyudv2(tmp_path, script, hdf5):
    splits = {"train": ("trainNdxs", 2), "test": ("testNdxs", 1)}
    module = script("nyudv2", splits)
    expected = nyu(tmp_path, hdf5)
    module.convert(tmp_path, tmp_path / "out")
    assert_reads(NYUDv2Dataset, tmp_path / "out", dict(train=[expected] * 2, test=[expected]))
    with pytest.raises(FileExistsError, match="remove it"):
        module.convert(tmp_path, tmp_path / "out")


def test_nyudv2_refuses_other_files(tmp_path, script, hdf5):
    module = script("nyudv2", {"train": ("trainNdxs", 2), "test": ("testNdxs", 5)})
    with pytest.raises(FileNotFoundError, match=r"missing: .*labeled\.mat, .*Mapping40\.mat"):
        module.convert(tmp_path, tmp_path / "out")
    nyu(tmp_path, hdf5, classes=41)
    with pytest.raises(ValueError, match="testNdxs has 1 entries, not 5"):
        module.convert(tmp_path, tmp_path / "out")
    module = script("nyudv2", {"train": ("trainNdxs", 2), "test": ("testNdxs", 1)})
    with pytest.raises(ValueError, match=r"mapClass must have values 1\.\.40"):
        module.convert(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_white_image_keeps_its_size(script):
    module = script("nyudv2", {})
    assert np.ones((4, 5))[module.within_border(np.full((4, 5, 3), 255))].shape == (4, 5)


def test_hdf5_is_asked_for(tmp_path, script, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for name in ("nyudv2", "sunrgbd"):
        with pytest.raises(ImportError, match="pip install h5py"):
            script(name, {}).convert(tmp_path, tmp_path / "out")


def sun(folder, hdf5, labels):
    toolbox = folder / "SUNRGBDtoolbox"
    names = [f"kv2/data/{i}" for i in range(3)]
    for sub in ("Metadata", "traintestSUNRGBD"):
        (toolbox / sub).mkdir(parents=True)
    (toolbox / "Metadata" / "SUNRGBD2Dseg.mat").touch()
    references = np.array([["a"], ["b"], ["c"]], dtype=object)
    hdf5["SUNRGBD2Dseg.mat"] = {"SUNRGBD2Dseg": {"seglabel": references}} | {
        key: label.T for key, label in zip("abc", labels, strict=True)
    }
    frames = np.zeros(3, dtype=[("rgbpath", object)])
    for i, name in enumerate(names):
        image = folder / "SUNRGBD" / name / "image" / "0.jpg"
        image.parent.mkdir(parents=True)
        cv2.imwrite(str(image), np.zeros((4, 6, 3)))
        frames[i]["rgbpath"] = f"/n/fs/sun3d/data/SUNRGBD/{name}/image/0.jpg"
    savemat(toolbox / "Metadata" / "SUNRGBDMeta.mat", dict(SUNRGBDMeta=frames))
    lists = [np.array([f"/n/fs/sun3d/data/SUNRGBD/{n}/" for n in part], dtype=object)
             for part in (names[:2], names[2:])]  # fmt: skip
    lists = dict(alltrain=lists[0], alltest=lists[1])
    savemat(toolbox / "traintestSUNRGBD" / "allsplit.mat", lists)


def test_sunrgbd(tmp_path, script, hdf5):
    module = script("sunrgbd", {"train": ("alltrain", 2), "test": ("alltest", 1)})
    label = np.arange(24, dtype=np.uint8).reshape(4, 6)
    sun(tmp_path, hdf5, [label] * 3)
    module.convert(tmp_path, tmp_path / "out")
    expected = np.where(label == 0, 255, label - 1)
    assert_reads(SUNRGBDDataset, tmp_path / "out", dict(train=[expected] * 2, test=[expected]))


@pytest.mark.parametrize("fault", ["value", "size", "image", "split"])
def test_sunrgbd_faults_leave_nothing_behind(fault, tmp_path, script, hdf5):
    module = script("sunrgbd", {"train": ("alltrain", 2), "test": ("alltest", 1)})
    label = np.full((4, 6), 38 if fault == "value" else 1, np.uint8)
    sun(tmp_path, hdf5, [label[:, :5] if fault == "size" else label] * 3)
    if fault == "image":
        (tmp_path / "SUNRGBD" / "kv2/data/1/image/0.jpg").unlink()
    if fault == "split":
        module.SPLITS["train"] = ("alltrain", 3)
    error, message = {
        "value": (ValueError, r"values 0\.\.36 or none, got .* \[37\]"),
        "size": (ValueError, "is 5 x 4 and its image 6 x 4 pixels"),
        "image": (FileNotFoundError, r"missing: .*data/1/image/0\.jpg"),
        "split": (ValueError, "alltrain has 2 entries of its own, not 3"),
    }[fault]
    with pytest.raises(error, match=message):
        module.convert(tmp_path, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def person_part(folder):
    label = np.arange(12, dtype=np.uint8).reshape(3, 4) % 7
    label[0, 0] = 255
    for path in ("parts/pascal_person_part_gt", "parts/pascal_person_part_trainval_list"):
        (folder / path).mkdir(parents=True)
    (folder / "voc" / "JPEGImages").mkdir(parents=True)
    for name in ("a", "b", "c"):
        cv2.imwrite(str(folder / "voc" / "JPEGImages" / f"{name}.jpg"), np.zeros((3, 4, 3)))
        cv2.imwrite(str(folder / "parts" / "pascal_person_part_gt" / f"{name}.png"), label)
    lists = folder / "parts" / "pascal_person_part_trainval_list"
    (lists / "train.txt").write_text("a\nb\n \n")
    (lists / "val.txt").write_text("/JPEGImages/c.jpg /SegmentationPart/c.png\n")
    return label


def test_person_part(tmp_path, script):
    module = script("person_part", {"train": 2, "val": 1})
    label = person_part(tmp_path)
    module.convert(tmp_path / "parts", tmp_path / "voc", tmp_path / "out")
    assert_reads(PascalPersonPartDataset, tmp_path / "out", dict(train=[label] * 2, val=[label]))


@pytest.mark.parametrize("name", ["nyudv2", "sunrgbd", "person_part"])
def test_the_command_line_reports_a_missing_file_in_one_line(name, tmp_path):
    command = [sys.executable, SCRIPTS / f"{name}.py", *[tmp_path] * (2 if "part" in name else 1)]
    result = subprocess.run(
        [*command, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "missing: " in result.stderr or "pip install h5py" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_link_to_nothing_is_not_written_to(tmp_path, script):
    module = script("person_part", {"train": 2, "val": 1})
    person_part(tmp_path)
    (tmp_path / "out").symlink_to(tmp_path / "gone")
    with pytest.raises(FileExistsError, match=r"out exists; remove it"):
        module.convert(tmp_path / "parts", tmp_path / "voc", tmp_path / "out")


def test_person_part_refuses_short_lists(tmp_path, script):
    module = script("person_part", {"train": 3, "val": 1})
    person_part(tmp_path)
    with pytest.raises(ValueError, match=r"train\.txt lists 2 images, not 3"):
        module.convert(tmp_path / "parts", tmp_path / "voc", tmp_path / "out")
