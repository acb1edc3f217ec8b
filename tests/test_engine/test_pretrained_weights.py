"""Weights come from a local folder; a failed download says what to do."""

import re
import urllib.error
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_external_models
from torch import hub

NAME = "open-mmlab://msra/hrnetv2_w18"
URL = get_external_models()["msra/hrnetv2_w18"]
FILE = URL.rsplit("/", 1)[1]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path):
    def fail(url, *args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(hub, "download_url_to_file", fail)
    hub_folder = tmp_path / "cache"
    monkeypatch.setenv("TORCH_HOME", str(hub_folder))
    monkeypatch.delenv("MMSEG_PAPERS_WEIGHTS", raising=False)


@pytest.mark.parametrize("name", [NAME, URL])
def test_a_folder_of_weights_comes_first(monkeypatch, tmp_path, name):
    torch.save(dict(a=torch.arange(3)), tmp_path / FILE)
    monkeypatch.setenv("MMSEG_PAPERS_WEIGHTS", str(tmp_path))
    assert CheckpointLoader.load_checkpoint(name)["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", [NAME, URL])
def test_a_failed_download_says_what_to_do(tmp_path, name):
    with pytest.raises(FileNotFoundError) as info:
        CheckpointLoader.load_checkpoint(name, map_location="cpu")
    message = str(info.value)
    digits = FILE.removesuffix(".pth").rsplit("-", 1)[1]
    for part in (name, URL, FILE, digits, "Name or service", "MMSEG_PAPERS_WEIGHTS", "checkpoints"):
        assert part in message, part
    assert ("model.backbone.init_cfg" in message) == (name == NAME)


def test_a_file_without_a_hash_in_its_name():
    with pytest.raises(FileNotFoundError, match=r"Get https://host/my-model-x\.pth elsewhere and"):
        CheckpointLoader.load_checkpoint("https://host/my-model-x.pth")


@pytest.mark.parametrize("size", [0, -500], ids=["empty", "cut"])
@pytest.mark.parametrize("place", ["folder", "cache"])
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_a_damaged_file_is_named(monkeypatch, tmp_path, place, size, is_zip):
    monkeypatch.setenv("MMSEG_PAPERS_WEIGHTS", str(tmp_path / "folder"))
    folder = tmp_path / "folder" if place == "folder" else Path(hub.get_dir(), "checkpoints")
    folder.mkdir(parents=True)
    file = folder / FILE
    torch.save(dict(a=torch.rand(300)), file, _use_new_zipfile_serialization=is_zip)
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(OSError, match=rf"{re.escape(str(file))} .* cut short: .*remove it") as info:
        CheckpointLoader.load_checkpoint(NAME)
    assert "could not be downloaded" not in str(info.value)
    assert URL in str(info.value)


def test_unknown_names():
    with pytest.raises(ValueError, match=r"no weights open-mmlab://resnet51\. Did you mean .*resn"):
        CheckpointLoader.load_checkpoint("open-mmlab://resnet51")


@pytest.mark.parametrize("scheme", ["open-mmlab", "openmmlab"])
def test_deprecated_names(monkeypatch, tmp_path, scheme):
    file = get_external_models()["detectron/resnet50_caffe"].rsplit("/", 1)[1]
    torch.save(dict(a=torch.arange(3)), tmp_path / file)
    monkeypatch.setenv("MMSEG_PAPERS_WEIGHTS", str(tmp_path))
    weights = CheckpointLoader.load_checkpoint(f"{scheme}://resnet50_caffe")
    assert weights["a"].tolist() == [0, 1, 2]
