"""Several configs under one schedule: each run once, cut off or not, and scored."""

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
    """A config that validates, under two names."""
    config = shrink(load(SMALL), tmp_path)
    config.param_scheduler = [
        dict(type="LinearLR", start_factor=0.1, begin=0, end=100, by_epoch=False),
        dict(type="PolyLR", power=0.9, begin=100, end=400, by_epoch=False),
    ]
    config.train_cfg.max_iters = 400
    for name in ("one.py", "other.py"):
        config.dump(tmp_path / name)
    return config


def test_two_configs_and_two_seeds(small, tmp_path):
    call = ["one.py", "other.py", "--iterations", 4, "--batch-size", 3, "--seeds", 0, 1]
    call += ["--random-weights", "--out", "out"]
    code, printed, errors = compare(*call, cwd=tmp_path)
    assert code == 0, errors[-2000:]
    files = sorted((tmp_path / "out").glob("*/result.json"))
    assert [file.parent.name for file in files] == [
        f"{name}_4iters_seed{seed}" for name in ("one", "other") for seed in (0, 1)
    ]
    one, other_seed, same, _ = (json.loads(file.read_text()) for file in files)
    assert [step for step, _ in one["curve"]] == [1, 2, 3, 4]
    assert one["seconds"] > 0
    assert (one["curve"], one["test"]) == (same["curve"], same["test"])
    assert one != other_seed
    used = Config.fromfile(next((tmp_path / "out" / "one_4iters_seed1").glob("*.py")))
    assert used.train_dataloader.batch_size == 3
    assert [(part.begin, part.end) for part in used.param_scheduler] == [(0, 1), (1, 4)]
    row = next(line for line in printed.splitlines() if line.startswith("| one |"))
    assert f"{min(one['test'], other_seed['test']):.2f} to" in row
    assert cv2.imread(str(tmp_path / "out" / "curves.png")).std() > 0

    files[0].unlink()  # as if it had been cut off before the end
    before = {file: file.stat().st_mtime_ns for file in files[1:]}
    code, again, errors = compare(*call, cwd=tmp_path)
    assert code == 0, errors[-2000:]
    assert again.splitlines()[-5:] == printed.splitlines()[-5:]
    assert {file: file.stat().st_mtime_ns for file in files[1:]} == before


def test_refuses_epochs(small, tmp_path):
    small.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=3)
    small.dump(tmp_path / "one.py")
    code, _, errors = compare("one.py", "--iterations", 4, cwd=tmp_path)
    assert code == 1
    assert "one.py trains by epochs" in errors
    assert "Traceback" not in errors
