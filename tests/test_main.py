"""``python -m mmseg_papers``."""

import pytest
import torch
from mmengine.config import Config

import mmseg_papers
from mmseg_papers.__main__ import main, packaged_configs

NAME = "hrnetv2_w48_4xb3-120k_cityscapes-512x1024"


def test_check(capsys):
    assert main(["check"]) == 0
    printed = capsys.readouterr().out
    assert mmseg_papers.LINE in printed
    assert torch.__version__ in printed


def test_config_lists_all(capsys):
    assert main(["config"]) == 0
    names = capsys.readouterr().out.split()
    assert NAME in names
    assert not any(name.startswith("_") or name == "default_runtime" for name in names)


@pytest.mark.parametrize("name", [NAME, f"configs/hrnetv2/{NAME}.py"])
def test_config_prints_one_that_stands_alone(name, capsys):
    assert main(["config", name]) == 0
    config = Config.fromstring(capsys.readouterr().out, ".py")
    assert config.to_dict() == Config.fromfile(packaged_configs()[NAME]).to_dict()


def test_config_is_written_once(tmp_path, capsys):
    folder = tmp_path / "a" / "b"
    assert main(["config", NAME, "--dest", str(folder)]) == 0
    file = folder / f"{NAME}.py"
    assert "_base_" not in file.read_text()
    file.write_text("mine")
    assert main(["config", NAME, "--dest", str(folder)]) == 1
    assert f"{file} exists" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_config_unknown(tmp_path, capsys):
    assert main(["config", "hrnet_w48", "--dest", str(tmp_path / "new")]) == 1
    assert "Did you mean hrnetv2_w48" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
