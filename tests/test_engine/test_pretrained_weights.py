"""Weights come from a local folder; a failed download says what to do."""

import re
import urllib.error
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import (
    get_external_models,
    get_mmcls_models,
    load_from_http,
)
from torch import hub

from mmseg_papers.apis.configs import CONFIGS
from mmseg_papers.engine.pretrained_weights import load_weights, register_weights_loader

NAME = "open-mmlab://msra/hrnetv2_w18"
URL = get_external_models()["msra/hrnetv2_w18"]
FILE = URL.rsplit("/", 1)[1]
MMCLS_URL = get_mmcls_models()["mobilenet_v2"]


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


#: What packaged configs start from; some of them name it in a variable or a list.
CHECKPOINTS = sorted(
    {
        address
        for file in CONFIGS.rglob("*.py")
        for address in re.findall(
            r"""["']((?:[\w-]+://|pretrained/)[^"'\s]+)["']""", file.read_text()
        )
        if not address.startswith("papers://")
    }
)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_what_the_configs_start_from_is_found_by_its_file_name(monkeypatch, tmp_path, name):
    scheme, _, key = name.partition("://")
    urls = get_mmcls_models() if scheme == "mmcls" else get_external_models()
    file = Path(urls.get(key, name)).name
    torch.save(dict(state_dict={"backbone.a": torch.arange(3)}), tmp_path / file)
    monkeypatch.setenv("MMSEG_PAPERS_WEIGHTS", str(tmp_path))
    weights = CheckpointLoader.load_checkpoint(name, "cpu")["state_dict"]
    # MMEngine takes the backbone out of mmcls's classifiers.
    assert list(weights) == ["a" if scheme == "mmcls" else "backbone.a"]


def test_a_file_comes_before_the_folder(monkeypatch, tmp_path):
    for folder, value in (("here", 1), ("weights", 2)):
        (tmp_path / folder).mkdir()
        torch.save(dict(a=value), tmp_path / folder / FILE)
    monkeypatch.setenv("MMSEG_PAPERS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    assert CheckpointLoader.load_checkpoint(f"here/{FILE}")["a"] == 1
    assert CheckpointLoader.load_checkpoint(f"there/{FILE}")["a"] == 2


def test_loaders_of_a_project_stay(monkeypatch):
    def own(filename, map_location):
        return dict(own=True)

    schemes = {"papers://": own, "https://": own, "http://": load_from_http, "": own}
    monkeypatch.setattr(CheckpointLoader, "_schemes", schemes)
    register_weights_loader()
    assert CheckpointLoader._schemes == {**schemes, "http://": load_weights}


def test_a_missing_file_says_how_to_convert_it():
    with pytest.raises(FileNotFoundError) as info:
        CheckpointLoader.load_checkpoint("pretrained/xception_65.pth")
    assert "convert_checkpoint PAPER SOURCE pretrained/xception_65.pth`" in str(info.value)
    assert "MMSEG_PAPERS_WEIGHTS" in str(info.value)


@pytest.mark.parametrize(
    ("name", "url"), [(NAME, URL), (URL, URL), ("mmcls://mobilenet_v2", MMCLS_URL)]
)
def test_a_failed_download_says_what_to_do(name, url):
    with pytest.raises(FileNotFoundError) as info:
        CheckpointLoader.load_checkpoint(name, map_location="cpu")
    message, file = str(info.value), Path(url).name
    cache = str(Path(hub.get_dir(), "checkpoints", file))
    digits = file.removesuffix(".pth").rsplit("-", 1)[1]
    for part in (name, url, cache, f"with {digits}", "Name or service", "MMSEG_PAPERS_WEIGHTS"):
        assert part in message, part
    assert ("model.backbone.init_cfg" in message) == (name != url)


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
