"""The tools that show HANet's motivation, and the attention of HANet and SPNet."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image

from mmseg_papers.datasets import CamVidDataset
from mmseg_papers.datasets.height_statistics import (
    count_classes,
    entropy,
    mutual_information,
    probabilities,
)

TOOLS = Path(__file__).parents[2] / "tools" / "analysis_tools"
CONFIGS = Path(__file__).parents[2] / "configs"
STRIP_POOLING = """
_base_ = "{camvid}"
default_scope = "mmseg"
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(120, 90)),
            dict(type="PackSegInputs"),
        ]
    )
)
model = dict(
    type="FusedEncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor"),
    backbone=dict(
        type="ResNetV1c",
        depth=50,
        base_channels=8,
        plugins=[
            dict(
                cfg=dict(type="StripPoolingModule"),
                stages=(False, False, False, True),
                position="after_conv2",
            )
        ],
    ),
    decode_head=dict(type="FCNHead", in_channels=256, channels=8, num_classes=11),
    test_cfg=dict(mode="slide", crop_size=(32, 32), stride=(32, 32)),
)
"""
TINY = CONFIGS / "hanet" / "hanet_r18-os16_1xb4-150iters_camvid-120x160.py"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a tool in this process; gives its exit code, output and error output."""

    def call(tool, *args):
        spec = importlib.util.spec_from_file_location(tool, TOOLS / f"{tool}.py")
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look up the module they are defined in.
        monkeypatch.setitem(sys.modules, tool, module)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [tool, *map(str, args)])
        code = 0
        try:
            module.main()
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def camvid(tmp_path):
    rng = np.random.default_rng(0)
    for folder, kind in (("images", "image"), ("annotations", "label")):
        for split in ("train", "val", "test"):
            (tmp_path / folder / split).mkdir(parents=True)
        for i in range(2):
            label = np.zeros((90, 120), np.uint8)
            label[30:60], label[60:], label[:, :10] = 4, 3, 255
            array = label if kind == "label" else rng.integers(0, 256, (90, 120, 3), np.uint8)
            Image.fromarray(array).save(tmp_path / folder / "train" / f"{i}.png")
    return tmp_path


def test_statistics_of_labels_that_height_explains(camvid, tmp_path, run):
    plot = tmp_path / "plot.png"
    option = f"train_dataloader.dataset.data_root={camvid}"
    config = CONFIGS / "hanet" / "hanet_r50-os16_1xb8-20k_camvid-360x480.py"
    code, out, error = run("height_statistics", config, "--out", plot, "--cfg-options", option)
    assert code == 0, error
    rows = {line.split()[1]: line for line in out.splitlines() if "│" in line}
    assert "33.33 %" in rows["sky"]
    assert "100.00 %" in rows["sky"]
    assert rows["entropy"].split("│")[2:-1] == [" 1.099   ", *[" 0.000    "] * 3]
    assert "explained by the section 1.099 nats" in " ".join(out.split())
    assert Image.open(plot).size[0] > 500


def test_statistics_of_joined_data(camvid, tmp_path, run):
    other = tmp_path / "other"
    for folder in ("images", "annotations"):
        shutil.copytree(camvid / folder, other / folder)
    for file in (other / "annotations" / "train").iterdir():
        Image.fromarray(np.full((90, 110), 3, np.uint8)).save(file)
    config = Config.fromfile(CONFIGS / "hanet" / "hanet_r50-os16_1xb8-20k_camvid-360x480.py")
    members = [dict(config.train_dataloader.dataset, data_root=str(p)) for p in (camvid, other)]
    config.train_dataloader.dataset = dict(type="ConcatDataset", datasets=members)
    config.dump(tmp_path / "joined.py")
    code, out, error = run("height_statistics", tmp_path / "joined.py", "--out", tmp_path / "p.png")
    assert code == 0, error
    rows = {line.split()[1]: line for line in out.splitlines() if "│" in line}
    assert "16.67 %" in rows["sky"]  # a third of one half


def test_statistics_without_data_or_sections(tmp_path, run):
    config = CONFIGS / "hanet" / "hanet_r50-os16_1xb8-20k_camvid-360x480.py"
    option = f"train_dataloader.dataset.data_root={tmp_path}"
    code, _, error = run("height_statistics", config, "--cfg-options", option)
    assert code == 1
    assert "Get the CamVid folder" in error
    _, _, error = run("height_statistics", config, "--sections", 0)
    assert "argument --sections: '0' is no whole number above 0" in error


def test_statistics_of_a_damaged_label_map(camvid, run):
    label = camvid / "annotations" / "train" / "1.png"
    label.write_bytes(b"")
    option = f"train_dataloader.dataset.data_root={camvid}"
    config = CONFIGS / "hanet" / "hanet_r50-os16_1xb8-20k_camvid-360x480.py"
    code, _, error = run("height_statistics", config, "--cfg-options", option)
    assert code == 1
    assert error.startswith(f"label map {label} cannot be loaded")


def test_entropy_and_mutual_information():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 6, (37, 20))
    label[label == 5] = 255
    counts = count_classes(label, 5, 4)
    assert counts.sum(0).tolist() == [(label == c).sum() for c in range(5)]
    assert counts[0].tolist() == [(label[:10] == c).sum() for c in range(5)]
    share = probabilities(counts[0])
    assert entropy(counts[0]) == pytest.approx(-(share * np.log(share)).sum())
    assert entropy(np.zeros(5, int)) == 0
    assert 0 <= mutual_information(counts) <= entropy(counts.sum(0))
    independent = np.outer([1, 2, 3], [4, 5, 6])
    assert mutual_information(independent) == pytest.approx(0, abs=1e-12)


@pytest.fixture
def image(tmp_path):
    file = tmp_path / "image.png"
    Image.fromarray(np.zeros((90, 120, 3), np.uint8)).save(file)
    return file


def save_random_weights(config, target, **content):
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict(), **content), target)
    return target


def test_pictures_of_a_checkpoint(tmp_path, run, image):
    meta = dict(classes=CamVidDataset.METAINFO["classes"][::-1])
    checkpoint = save_random_weights(TINY, tmp_path / "model.pth", meta=dict(dataset_meta=meta))
    maps = tmp_path / "maps.png"
    code, _, error = run("attention_maps", TINY, checkpoint, image, "--out", maps)
    assert code == 0, error
    assert Image.open(maps).size[0] > 1000
    code, _, error = run("attention_maps", TINY, checkpoint, image, "--groups", "flat=road,street")
    assert code == 2
    assert "no class street; there are bicyclist, pedestrian" in error


def test_pictures_of_strip_pooling(tmp_path, run, image):
    """Of a file that was converted: it holds weights and nothing else."""
    config, maps = tmp_path / "config.py", tmp_path / "maps.png"
    config.write_text(STRIP_POOLING.format(camvid=CONFIGS / "_base_" / "datasets" / "camvid.py"))
    checkpoint = save_random_weights(config, tmp_path / "model.pth")
    code, _, error = run("attention_maps", config, checkpoint, image, "--out", maps)
    assert code == 0, error
    width, height = Image.open(maps).size
    assert (width, height) == (1500, 3 * 350)  # the image, and two pictures for each of 3 modules


def test_pictures_of_a_model_without_attention(tmp_path, run, image):
    baseline = TINY.with_name(TINY.name.replace("hanet", "baseline"))
    checkpoint = save_random_weights(baseline, tmp_path / "model.pth")
    code, _, error = run("attention_maps", baseline, checkpoint, image)
    assert code == 1
    assert "has no attention that can be drawn" in error


def test_pictures_of_no_image(tmp_path, run):
    code, _, error = run("attention_maps", TINY, tmp_path / "model.pth", tmp_path / "none.png")
    assert code == 2
    assert "none.png is no image that OpenCV can read" in error
