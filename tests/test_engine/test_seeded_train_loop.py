"""A training that was killed, however often and whenever, ends like one that was not."""

import random
import signal
from pathlib import Path

import numpy as np
import pytest

from ..short_training import FAMILIES, assert_same, result_of, run, short_config

#: Function -> at which of its calls the process dies; each process resumes where the last one died.
KILLS = [
    ("mmengine.runner.IterBasedTrainLoop.run_iter", 2),  # no checkpoint yet
    ("os.replace", 2),  # iter_2 is there, iter_4 written but not in its place
    ("os.fsync", 2),  # the best one half written, after iter_4 and its evaluation
    ("os.fsync", 2),  # evaluated again; iter_4 half overwritten by itself with the best score
    ("mmengine.fileio.LocalBackend.remove", 1),  # iter_6 is there, iter_4 still
    ("mmengine.runner.ValLoop.run_iter", 2),  # in the evaluation after iter_8
]


def test_killed_at_each_step_of_a_checkpoint(tmp_path):
    whole = short_config(tmp_path / "whole")
    assert run(whole) == 0
    config = short_config(tmp_path / "killed")
    for moment in KILLS:
        assert run(config, *moment) == -signal.SIGKILL, f"{moment} never came"
    assert run(config) == 0
    expected = result_of(whole, 8)
    assert np.ptp(expected["/logged/train/loss/0"]) > 0
    assert expected["/best"] > 0
    assert_same(result_of(config, 8), expected)
    files = {f.name for f in Path(config.work_dir).iterdir() if f.suffix == ".pth"}
    assert files == {f.name for f in Path(whole.work_dir).iterdir() if f.suffix == ".pth"}


@pytest.mark.slow
def test_killed_at_random_times(tmp_path):
    whole = short_config(tmp_path / "whole")
    assert run(whole) == 0
    config = short_config(tmp_path / "killed")
    moments = random.Random(0)
    kills = 0
    while kills < 20:
        kills += run(config, seconds=moments.uniform(1, 8)) == -signal.SIGKILL
        if Path(config.work_dir, "iter_8.pth").exists():
            assert run(config) == 0
            assert_same(result_of(config, 8), result_of(whole, 8))
            config = short_config(tmp_path / f"killed{kills}")


@pytest.mark.slow
@pytest.mark.parametrize("folder", FAMILIES)
def test_every_family(folder, tmp_path):
    options = {"train_cfg.max_iters": 4, "default_hooks.checkpoint.save_best": None}
    whole = short_config(tmp_path / "whole", FAMILIES[folder], **options)
    assert run(whole) == 0
    config = short_config(tmp_path / "killed", FAMILIES[folder], **options)
    assert run(config, "os.fsync", 2) == -signal.SIGKILL
    assert run(config) == 0
    assert_same(result_of(config, 4), result_of(whole, 4))
