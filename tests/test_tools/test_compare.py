"""Configs under one schedule: each run once, cut off or not, and scored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from mmengine.config import Config

from ..generated_data import shrink
from ..short_training import SMALL
from ..test_configs import load

TOOL = Path(__file__).parents[2] / "tools" / "compare.py"


def compare(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def small(tmp_path):
    config = shrink(load(SMALL), tmp_path)
    config.param_scheduler = [
        dict(type="LinearLR", start_factor=0.1, begin=0, end=100, by_epoch=False),
        dict(type="PolyLR", power=0.9, begin=100, end=400, by_epoch=False),
        dict(type="MultiStepLR", milestones=[100, 300], begin=0, end=400, by_epoch=False),
    ]
    config.train_cfg.max_iters = 400
    config.model.backbone.norm_cfg.momentum = 0.0003
    config.model.decode_head.norm_cfg.momentum = None
    config.model.backbone.update(norm_eval=True, frozen_stages=2)
    config.dump(tmp_path / "one.py")
    return config


def test_two_seeds(small, tmp_path):
    call = ["one.py", "--iterations", 4, "--batch-size", 3, "--seeds", 0, 1]
    call += ["--random-weights", "--out", "out"]
    code, printed, errors = compare(*call, cwd=tmp_path)
    assert code == 0, errors[-2000:]
    folders = [tmp_path / "out" / f"one_4iters_seed{seed}" for seed in (0, 1)]
    first, second = results = [json.loads((f / "result.json").read_text()) for f in folders]
    assert [[step for step, _ in result["curve"]] for result in results] == [[1, 2, 3, 4]] * 2
    assert first["curve"] != second["curve"]
    assert all(result["seconds"] > 0 for result in results)
    used = Config.fromfile(folders[1] / "compared_config.py")
    assert used.train_dataloader.batch_size == 3
    assert [(part.begin, part.end) for part in used.param_scheduler] == [(0, 1), (1, 4), (0, 4)]
    assert used.param_scheduler[2].milestones == [1, 3]
    assert used.model.backbone.norm_cfg.momentum == 0.1
    assert used.model.decode_head.norm_cfg.momentum is None
    assert (used.model.backbone.norm_eval, used.model.backbone.frozen_stages) == (False, -1)
    assert cv2.imread(str(tmp_path / "out" / "curves.png")).std() > 0

    (folders[0] / "result.json").unlink()  # as if it had been cut off in the test
    before = (folders[1] / "result.json").stat().st_mtime_ns
    code, again, errors = compare(*call, cwd=tmp_path)
    assert code == 0, errors[-2000:]
    assert again.splitlines()[-4:] == printed.splitlines()[-4:]
    assert (folders[1] / "result.json").stat().st_mtime_ns == before

    code, _, errors = compare(*call, "--batch-size", 2, cwd=tmp_path)
    assert code == 1
    assert "one_4iters_seed0 holds a run" in errors
    assert "choose another --out" in errors


def test_a_row_a_config(tmp_path):
    sys.path.insert(0, str(TOOL.parent))
    try:
        from compare import draw, table
    finally:
        sys.path.pop(0)
    runs = [dict(curve=[(2, 10.0), (4, n)], test=n, seconds=n, parameters=10**6) for n in (20, 30)]
    found = dict(one=runs, other=runs[:1])
    assert table(found).splitlines()[2:] == [
        "| one | 1.00 | 25.00 (20.00 to 30.00) | 25.00 (20.00 to 30.00) | 25.00 |",
        "| other | 1.00 | 20.00 | 20.00 | 20.00 |",
    ]
    draw(found, tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=3)), "trains by epochs"),
        (
            dict(test_evaluator=[dict(type="IoUMetric", iou_metrics=["mDice"])]),
            "test_evaluator[0].iou_metrics of config one.py must have 'mIoU', got ['mDice']",
        ),
    ],
)
def test_refuses_before_it_trains(small, tmp_path, change, message):
    for name, value in change.items():
        small[name] = value
    small.dump(tmp_path / "one.py")
    code, _, errors = compare("one.py", "--iterations", 4, cwd=tmp_path)
    assert code == 1
    assert message in errors
    assert "one.py" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.backbone.unknown": 1}, "model.backbone.unknown"),
        ({"val_dataloader.dataset.data_root": "nowhere"}, "nowhere"),
    ],
)
def test_a_faulty_config_stops_it_before_the_first_run(small, tmp_path, change, message):
    small.merge_from_dict(change)
    small.dump(tmp_path / "two.py")
    code, _, errors = compare("one.py", "two.py", "--iterations", 4, "--out", "out", cwd=tmp_path)
    assert code == 1
    assert "config two.py: " in errors
    assert message in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.glob("out/*"))
