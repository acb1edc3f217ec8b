"""Converting the authors' files and publishing one's own, by their commands."""

import hashlib
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mmseg.registry import MODELS

from ..reference import FOLDER
from .test_dsrl_tools import MODEL

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def run(monkeypatch):
    def command(name, *arguments):
        spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        return module.main()

    return command


def test_converts_tensorflow(run, tmp_path, capsys):
    target = tmp_path / "new" / "deeplab.pth"
    assert run("convert_checkpoint", "deeplab", FOLDER / "deeplab" / "tf_tiny.ckpt", target) == 0
    assert f"tensors to {target}" in capsys.readouterr().out
    weights = torch.load(target, weights_only=True)["state_dict"]
    assert weights["decode_head.conv_seg.bias"].shape == (21,)
    assert [f.name for f in target.parent.iterdir()] == ["deeplab.pth"]


def test_converts_with_options_into_safetensors(run, tmp_path):
    from safetensors.torch import load_file

    target = tmp_path / "deeplab.safetensors"
    source = f"{FOLDER / 'deeplab' / 'tf_tiny.ckpt.index'}#drop_background=true"
    assert run("convert_checkpoint", "deeplab", source, target) == 0
    assert load_file(target)["decode_head.conv_seg.bias"].shape == (20,)


@pytest.mark.parametrize(
    ("paper", "source", "message"),
    [
        ("deplab", "none.ckpt", "Did you mean deeplab"),
        ("deeplab", "none.ckpt", "neither none.ckpt nor none.ckpt.index"),
    ],
)
def test_refusals_leave_nothing(run, tmp_path, capsys, paper, source, message):
    assert run("convert_checkpoint", paper, source, tmp_path / "out.pth") == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_publishes_what_inference_needs(run, tmp_path, capsys):
    weights = MODELS.build(MODEL).state_dict()
    meta = dict(iter=7, dataset_meta=dict(classes=["a", "b"]))
    content = dict(state_dict=weights, meta=meta, optimizer=dict(state=torch.zeros(10000)))
    torch.save(content, tmp_path / "iter_7.pth")
    files = tmp_path / "iter_7.pth", tmp_path / "out" / "dsrl.pth"
    assert run("publish_checkpoint", *files, "--license", "CC BY-NC 4.0") == 0
    (file,) = (tmp_path / "out").iterdir()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.name == f"dsrl-{digest[:8]}.pth"
    (entry,) = yaml.safe_load(capsys.readouterr().out.partition("\n")[2])
    weights_url = f"https://YOUR.HOST/{file.name}"
    assert entry == dict(Name="dsrl", Weights=weights_url, SHA256=digest, License="CC BY-NC 4.0")
    published = torch.load(file, weights_only=True)
    assert published["meta"] == dict(dataset_meta=meta["dataset_meta"])
    assert set(published) == {"state_dict", "meta"}
    plain = dict(MODEL, sisr_head=None, feature_transform=None, loss_fa=None)
    MODELS.build(plain).load_state_dict(published["state_dict"], strict=True)


def test_publishing_refuses_bare_weights(run, tmp_path, capsys):
    torch.save({"x": torch.ones(1)}, tmp_path / "bare.pth")
    assert run("publish_checkpoint", tmp_path / "bare.pth", tmp_path / "out.pth") == 1
    assert "bare.pth has no state_dict" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["bare.pth"]


def test_publishing_keeps_the_source(run, tmp_path):
    file = tmp_path / "iter_7.pth"
    torch.save(dict(state_dict={"x": torch.ones(1)}, optimizer={}, meta=None), file)
    before = file.read_bytes()
    assert run("publish_checkpoint", file, file) == 0
    assert file.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
