"""MMEngine's checkpoints load without trusting the file, and other files stay refused."""

import pickle
import zipfile
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from mmseg_papers.checkpoints import checkpoint_globals
from mmseg_papers.checkpoints.checkpoint_globals import allow_checkpoint_globals, load_listed

LOSSES = [2.0, 1.0, 0.5]


@pytest.fixture
def checkpoint(tmp_path):
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    history = HistoryBuffer()
    for loss in LOSSES:
        history.update(loss)
    path = tmp_path / "iter_3.pth"
    torch.save(
        {
            "meta": {"iter": 3, "cfg": "model = dict()", "dataset_meta": {"classes": ("road",)}},
            "state_dict": model.state_dict(),
            "message_hub": {
                "log_scalars": {"train/loss": history},
                "runtime_info": {
                    "eta": np.float64(1.5),
                    "best_score": np.float32(0.25),
                    "count": np.int64(7),
                    "half": np.float16(0.5),
                    "flag": np.bool_(True),
                },
                "resumed_keys": {"train/loss": True},
            },
            "optimizer": optimizer.state_dict(),
            "param_schedulers": [{"last_step": 3, "begin": 0}],
        },
        path,
    )
    return path


def check(loaded):
    history = loaded["message_hub"]["log_scalars"]["train/loss"]
    np.testing.assert_array_equal(history.data[0], LOSSES)
    np.testing.assert_array_equal(history.data[1], [1, 1, 1])
    assert history.statistics("mean") == np.mean(LOSSES)
    info = loaded["message_hub"]["runtime_info"]
    assert list(info.values()) == [1.5, 0.25, 7, 0.5, True]
    assert isinstance(info["best_score"], np.float32)


@pytest.fixture(
    params=[
        pytest.param(False, id="own list"),
        pytest.param(True, id="PyTorch's list", marks=pytest.mark.torch_2_6),
    ]
)
def either_list(request, monkeypatch):
    monkeypatch.setattr(checkpoint_globals, "LIST_TAKES_NAMES", request.param)


@pytest.mark.usefixtures("either_list")
def test_runner_checkpoint_loads(checkpoint):
    check(load_listed(checkpoint))


@pytest.mark.usefixtures("either_list")
def test_file_of_an_old_pytorch_loads(checkpoint, tmp_path):
    old = tmp_path / "old.pth"
    content = load_listed(checkpoint)
    torch.save(content, old, _use_new_zipfile_serialization=False)
    loaded = load_listed(old)
    check(loaded)
    torch.testing.assert_close(loaded["state_dict"], content["state_dict"], rtol=0, atol=0)


@pytest.mark.torch_2_6
def test_mmengine_never_reads_without_protection(checkpoint, monkeypatch):
    asked = []
    load = torch.load

    def recorded(*args, **kwargs):
        asked.append(kwargs.get("weights_only"))
        return load(*args, **{"weights_only": True, **kwargs})

    monkeypatch.setattr(torch, "load", recorded)
    check(CheckpointLoader.load_checkpoint(str(checkpoint), map_location="cpu"))
    assert asked and False not in asked
    # onedl-mmengine's own list, cleared after each file, must not take ours along.
    check(load(checkpoint, weights_only=True))


@pytest.mark.usefixtures("either_list")
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_checkpoint_of_either_numpy_loads(checkpoint, core):
    with zipfile.ZipFile(checkpoint) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(checkpoint, "w") as archive:
        for name, data in members.items():
            if name.endswith("data.pkl"):
                present = b"numpy._core" if b"numpy._core" in data else b"numpy.core"
                assert present in data
                data = data.replace(present, core.encode())
            archive.writestr(name, data)
    check(load_listed(checkpoint))


def test_numpy_1_26_has_an_empty_core_of_numpy_2(checkpoint, monkeypatch):
    monkeypatch.setattr(np, "_core", ModuleType("numpy._core"), raising=False)
    allow_checkpoint_globals()
    check(load_listed(checkpoint))


class Reduced:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.usefixtures("either_list")
@pytest.mark.parametrize(
    "content",
    [
        zipfile.ZipInfo("any class"),
        Reduced(eval, "1 + 1"),
        Reduced(getattr, HistoryBuffer, "register_statistics"),
        Reduced(getattr, np.ndarray, "tofile"),
        Reduced(getattr, HistoryBuffer, "__init__"),
    ],
    ids=["class", "eval", "other method", "ndarray method", "dunder"],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_anything_else_is_refused(tmp_path, content, zipped):
    path = tmp_path / "bad.pth"
    torch.save({"message_hub": content}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError, match=r"Unsupported|may not take|safe_globals"):
        load_listed(path)


@pytest.mark.torch_2_6
def test_an_array_of_objects_is_refused(tmp_path):
    torch.save({"message_hub": np.array([None])}, tmp_path / "bad.pth")
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        load_listed(tmp_path / "bad.pth")
