"""``python -m mmseg_papers``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import mmseg_papers
from mmseg_papers.__main__ import main
from mmseg_papers.apis.configs import packaged_configs
from mmseg_papers.arguments import picture_file

NAME = "hrnetv2_w48_4xb3-120k_cityscapes-512x1024"


def test_check(capsys):
    assert main(["check"]) == 0
    printed = capsys.readouterr().out
    assert mmseg_papers.LINE in printed
    assert torch.__version__ in printed


def test_a_command_is_silent_about_what_nobody_needs():
    command = [sys.executable, "-W", "default", "-m", "mmseg_papers", "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "mmcv-lite" not in done.stderr
    assert "OneDL" not in done.stderr


@pytest.mark.parametrize("verb", ["benchmark", "export"])
def test_tools_are_verbs(verb, capfd):
    assert main([verb, "--help"]) == 0
    assert f"usage: {verb}.py" in capfd.readouterr().out


def test_run_lists_the_tools(capsys):
    assert main(["run"]) == 0
    names = capsys.readouterr().out.split()
    assert {"check_dataset", "convert_checkpoint", "camvid", "export"} <= set(names)
    assert "prepared_layout" not in names, "it is part of tools, not one"
    assert main(["run", "check_data"]) == 1
    printed = capsys.readouterr()
    assert printed.err.split()[-len(names) :] == names
    assert "no tool 'check_data'" in printed.err


def test_run_gives_a_tool_its_arguments_and_returns_its_status(capfd):
    assert main(["run", "check_dataset", "--help"]) == 0
    assert "usage: check_dataset.py" in capfd.readouterr().out
    assert main(["run", "check_dataset", "none.py", "--no-such-option"]) == 2


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


def test_a_file_comes_before_a_packaged_config(tmp_path, capsys):
    (tmp_path / f"{NAME}.py").write_text("mine = 1")
    assert main(["config", str(tmp_path / f"{NAME}.py")]) == 0
    assert capsys.readouterr().out.strip() == "mine = 1"


def test_config_unknown(tmp_path, capsys):
    assert main(["config", "hrnet_w48", "--dest", str(tmp_path / "new")]) == 1
    assert "Did you mean hrnetv2_w48" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_config_on_own_data(tmp_path, capsys):
    argv = ["config", "hrnetv2_w48_1xb8-20k_camvid-360x480", "--dest", str(tmp_path)]
    argv += ["--data-root", "data/mine", "--classes", "road", "car"]
    assert main([*argv, "--data-options", "label_values=[(0,0),(255,1)]"]) == 0
    file = tmp_path / "hrnetv2_w48_1xb8-20k_camvid-360x480.py"
    assert f"wrote {file}" in capsys.readouterr().out
    config = Config.fromfile(file)
    assert config.model.decode_head.num_classes == 2
    assert config.train_dataloader.batch_size == 8
    for split in ("train", "val", "test"):
        dataset = config[f"{split}_dataloader"].dataset
        assert (dataset.type, dataset.data_root) == ("FolderDataset", "data/mine")
        assert tuple(dataset.classes) == ("road", "car")
        assert dict(dataset.label_values) == {0: 0, 255: 1}
        (load,) = (step for step in dataset.pipeline if step.type == "LoadAnnotations")
        assert load.num_classes == 2
    (crop,) = (s for s in config.train_dataloader.dataset.pipeline if s.type == "RandomCrop")
    assert tuple(crop.crop_size) == (360, 480)
    assert "CamVid" not in file.read_text()


def test_config_on_own_data_in_a_process_of_its_own(tmp_path):
    """Nothing else has set a scope there."""
    name = "hrnetv2_w18-small-v2_1xb4-4k_own-512x512"
    argv = [name, "--data-root", "data/mine", "--classes", "a", "b", "--dest", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "mmseg_papers", "config", *argv],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / f"{name}.py").exists()


@pytest.mark.parametrize("command", [["list"], ["config", NAME]], ids=lambda words: words[0])
def test_a_reader_that_stops_early_is_no_error(command):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "mmseg_papers", *command]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_own_data_needs_both_options():
    with pytest.raises(SystemExit):
        main(["config", NAME, "--classes", "road"])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("b", "b.png"),
        ("b.v1", "b.v1.png"),
        ("run.1/b", "run.1/b.png"),
        ("b.svg", "b.svg"),
        ("b.PNG", "b.PNG"),
    ],
)
def test_a_picture_has_the_suffix_of_one(name, file):
    assert picture_file(name) == Path(file)
