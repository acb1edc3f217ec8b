"""A training that was killed, however often and whenever, ends like one that was not."""

import random
import signal
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from mmseg_papers.datasets import SeededDataset
from mmseg_papers.engine import SeededTrainLoop

from ..short_training import FAMILIES, SMALL, assert_same, result_of, run, short_config

#: One small model, then with ``make test-all`` one of each paper.
NAMES = [SMALL, *(pytest.param(n, marks=pytest.mark.slow, id=f) for f, n in FAMILIES.items())]
IN_PROCESS = {
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader": None,
    "val_cfg": None,
    "val_evaluator": None,
}

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
    for name in ("first", "whole"):  # the first also starts the server that forks
        whole = short_config(tmp_path / name)
        start = time.monotonic()
        assert run(whole) == 0
        length = time.monotonic() - start
    moments = random.Random(0)
    kills = 0
    for training in count():
        config = short_config(tmp_path / f"killed{training}")
        while (code := run(config, seconds=length * moments.uniform(0, 1.2))) == -signal.SIGKILL:
            kills += 1
        assert code == 0
        assert_same(result_of(config, 8), result_of(whole, 8))
        if kills >= 20:
            return


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


@pytest.mark.parametrize("name", NAMES)
def test_deterministic_runs_are_identical(tmp_path, name):
    """Also with another number of workers."""
    results = []
    for workers in (1, 2):
        config = short_config(
            tmp_path / str(workers),
            name,
            **IN_PROCESS,
            randomness=dict(seed=0, deterministic=True),
        )
        config.train_cfg.update(max_iters=2)
        config.train_dataloader.update(num_workers=workers)
        assert run(config) == 0
        results.append(result_of(config, 2))
    assert_same(*results)


def test_early_stopping_stops_it(tmp_path):
    loader = {k: v for k, v in IN_PROCESS.items() if k.startswith("train_dataloader")}
    config = short_config(tmp_path, **loader, **{"train_cfg.val_interval": 1})
    config.default_hooks.checkpoint = None
    never = dict(type="EarlyStoppingHook", monitor="mIoU", patience=2, min_delta=100)
    config.custom_hooks = [never]
    runner = Runner.from_cfg(config)
    runner.train()
    assert isinstance(runner.train_loop, SeededTrainLoop)
    assert runner.iter == 3, "the first score is the best, two later ones are no better"


def class_uniform(config):
    """Have ClassUniformSampler draw the images."""
    config.train_dataloader.dataset = dict(
        type="ClassUniformDataset", datasets=[config.train_dataloader.dataset], tile_size=32
    )
    config.train_dataloader.sampler = dict(type="ClassUniformSampler")


@pytest.mark.onedl
@pytest.mark.parametrize("change", [lambda config: None, class_uniform], ids=["any", "uniform"])
def test_resumes_late_at_once(tmp_path, monkeypatch, change):
    config = short_config(tmp_path, **IN_PROCESS)
    change(config)
    config.train_cfg.update(max_iters=2)
    Runner.from_cfg(config).train()
    file = Path(config.work_dir, "iter_2.pth")
    checkpoint = torch.load(file)
    checkpoint["meta"]["iter"] = 100_000
    torch.save(checkpoint, file)

    config.update(resume=True, experiment_name=f"{tmp_path}-again")
    config.train_cfg.update(max_iters=100_001)
    loaded = []
    load = SeededDataset.__getitem__
    monkeypatch.setattr(
        SeededDataset, "__getitem__", lambda self, item: loaded.append(item) or load(self, item)
    )
    runner = Runner.from_cfg(config)
    start = time.process_time()
    runner.train()
    assert time.process_time() - start < 30
    positions = [item[1] for item in loaded if isinstance(item, tuple)]
    assert positions == [200_000, 200_001]


@pytest.mark.onedl
def test_resumes_with_the_seed_of_the_checkpoint(tmp_path):
    """A config without a seed draws one."""
    config = short_config(tmp_path, **IN_PROCESS)
    config.update(randomness=dict(seed=None))
    config.train_cfg.update(max_iters=2)
    first = Runner.from_cfg(config)
    first.train()
    config.update(resume=True, experiment_name=f"{tmp_path}-again")
    config.train_cfg.update(max_iters=4)
    again = Runner.from_cfg(config)
    drawn = again.seed
    again.train()
    assert first.seed == again.train_dataloader.sampler.seed != drawn


def test_needs_a_description_of_the_data():
    with pytest.raises(TypeError, match="train_dataloader as a dict, got list"):
        SeededTrainLoop(None, [], max_iters=1)


@pytest.mark.parametrize(
    "options",
    [
        dict(num_batch_per_epoch=1),
        dict(batch_sampler=dict(type="torch.utils.data.BatchSampler", drop_last=True)),
    ],
    ids=["slice", "batch sampler"],
)
def test_mmengines_loader_options(tmp_path, monkeypatch, options):
    """The first samples alone, and batches formed by another class."""
    config = short_config(tmp_path, **IN_PROCESS)
    config.train_cfg.update(max_iters=2)
    config.train_dataloader.update(options)
    loaded = []
    load = SeededDataset.__getitem__
    monkeypatch.setattr(
        SeededDataset, "__getitem__", lambda self, item: loaded.append(item) or load(self, item)
    )
    Runner.from_cfg(config).train()
    assert [item[1] for item in loaded] == [0, 1, 2, 3]
    if "num_batch_per_epoch" in options:
        assert {item[2] for item in loaded} == {0, 1}
