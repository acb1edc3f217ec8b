"""The report draws what the loader reads and what any head predicts."""

import importlib.util
from pathlib import Path

import cv2
import pytest
import torch

from ..test_engine.test_validation_hooks import config

FILE = Path(__file__).parents[2] / "tools" / "analysis_tools" / "training_report.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("training_report", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("last", "steps"), [("", [1]), ('{"lo', [1]), ('{"loss": 1, "iter": 2}', [1, 2])]
)
def test_reads_the_log_of_a_killed_run(tool, tmp_path, last, steps):
    file = tmp_path / "20260101_000000" / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True)
    file.write_text(f'{{"loss": 2, "iter": 1}}\n{last}')
    assert [record["iter"] for record in tool.read_scalars(tmp_path)] == steps


@pytest.mark.parametrize(("channels", "suffix"), [(4, ".npy"), (12, ".tif")])
def test_draws_one_class_on_many_bands(tool, tmp_path, monkeypatch, channels, suffix):
    of_run = config(tmp_path, channels, suffix, [])
    of_run.test_dataloader = of_run.val_dataloader
    loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
    of_run.model.decode_head.update(out_channels=1, threshold=0.5, loss_decode=loss)
    model = tool.load_model(of_run, None, "cpu")
    gradients = []
    model.register_forward_hook(lambda *args: gradients.append(torch.is_grad_enabled()))
    monkeypatch.setattr(tool, "load_model", lambda *args: model)
    tool.draw_predictions(of_run, "weights.pth", tmp_path / "report.png", 2)
    assert cv2.imread(str(tmp_path / "report.png")).std() > 0
    assert gradients == [False, False]
