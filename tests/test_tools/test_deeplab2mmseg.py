"""The converter's command reads TensorFlow's and PyTorch's files."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

from ..reference import FOLDER

FILE = Path(__file__).parents[2] / "tools" / "model_converters" / "deeplab2mmseg.py"


@pytest.fixture
def run(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("deeplab2mmseg", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def command(*arguments):
        target = tmp_path / "made" / "converted.pth"
        monkeypatch.setattr(sys, "argv", ["deeplab2mmseg.py", *map(str, arguments), str(target)])
        module.main()
        return torch.load(target, weights_only=True)["state_dict"]

    return command


def test_tensorflow(run):
    weights = run(FOLDER / "deeplab" / "tf_tiny.ckpt")
    assert weights["decode_head.conv_seg.bias"].shape == (21,)
    dropped = run("--drop-background", FOLDER / "deeplab" / "tf_tiny.ckpt.index")
    assert dropped["decode_head.conv_seg.bias"].shape == (20,)


@pytest.mark.parametrize("wrap", [None, "state_dict", "model_state"])
def test_pytorch(run, wrap, tmp_path):
    weights = {"stem.0.conv.weight": torch.rand(2, 3)}
    torch.save({wrap: weights, "epoch": 1} if wrap else weights, tmp_path / "file.pth")
    assert torch.equal(run(tmp_path / "file.pth")["stem.0.conv.weight"], weights.popitem()[1])


def test_nothing_there(run, tmp_path, capsys):
    with pytest.raises(SystemExit, match="1"):
        run(tmp_path / "model.ckpt")
    assert re.search(r"neither .*model\.ckpt nor .*model\.ckpt\.index", capsys.readouterr().err)
