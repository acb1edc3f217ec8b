"""Trainings of a few iterations in processes of their own, which may be killed at any call."""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import signal
import time
from itertools import count
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_papers.apis.configs import packaged_configs

from .generated_data import shrink
from .test_configs import OPTIONS, without_pretrained

# Imports once, then forks: a training starts in a second.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])

SMALL = "hrnetv2_w18-small-v1_1xb8-400iters_street-scenes-128x256"
#: Folder -> its first config of CamVid.
FAMILIES = {
    file.parent.name: name
    for name, file in reversed(packaged_configs().items())
    if "camvid-360x480" in name
}


def short_config(root: Path, name: str = SMALL, **options) -> Config:
    """A config of few iterations that draws random numbers wherever it can, with two workers.

    Args:
        root (Path): Where the data and the work directory go.
        name (str): Of the config.
        **options: Merged into the config.

    Returns:
        Config: Checkpoints every second iteration, the last one kept; validates every fourth.
    """
    config = Config.fromfile(packaged_configs()[name])
    checkpoint = dict(config.default_hooks.checkpoint, interval=2, max_keep_ckpts=1)
    shrink(config, root, **OPTIONS.get(packaged_configs()[name].parent.name, {}))
    config.model = without_pretrained(config.model)
    config.default_hooks.update(checkpoint=checkpoint)
    config.custom_hooks = [dict(type="EMAHook")]
    config.train_cfg.update(max_iters=8, val_interval=4)
    config.train_dataloader.update(num_workers=2, persistent_workers=True)
    config.train_dataloader.dataset.pipeline.insert(2, dict(type="PhotoMetricDistortion"))
    config.merge_from_dict(options)
    return config


def train(config: Config, target: str | None = None, call: int = 1) -> None:
    """Train, in a process of its own.

    Args:
        config (Config): Of the training.
        target (str, optional): Function at whose call the process dies by SIGKILL, ``'os.fsync'``.
        call (int): At which call.
    """
    torch.set_num_threads(1)
    if target is not None:
        owner, _, name = target.rpartition(".")
        owner = pkgutil.resolve_name(owner)
        function, calls = getattr(owner, name), count(1)

        def deadly(*args, **kwargs):
            if next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        setattr(owner, name, deadly)
    Runner.from_cfg(config).train()


def run(config: Config, *moment, seconds: float | None = None, resume: bool = True) -> int:
    """Start a training and wait until it ended.

    Args:
        config (Config): Of the training.
        *moment: ``target`` and ``call`` of :func:`train`.
        seconds (float, optional): After which it is killed.
        resume (bool): As ``--resume``.

    Returns:
        int: Exit code; -9 if it was killed.
    """
    config.resume = resume
    # Log folders are named by the second.
    config.experiment_name = config.visualizer.name = f"{config.work_dir}-{time.time()}"
    process = PROCESSES.Process(target=train, args=(config, *moment))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode


def result_of(config: Config, iteration: int) -> dict[str, np.ndarray]:
    """All that a training came to: weights, averages, optimizer, rates, loss curve, best score.

    Args:
        config (Config): Of the training.
        iteration (int): Of the checkpoint.

    Returns:
        dict[str, np.ndarray]: By name; without times and paths.
    """
    checkpoint = torch.load(Path(config.work_dir, f"iter_{iteration}.pth"))
    hub = checkpoint.pop("message_hub")
    parts = {k: v for k, v in checkpoint.items() if k != "meta"}
    parts["logged"] = {k: h.data for k, h in hub["log_scalars"].items() if "time" not in k}
    parts["best"] = hub["runtime_info"].get("best_score")
    return dict(_leaves("", parts))


def _leaves(name, value):
    if isinstance(value, dict):
        value = value.items()
    elif isinstance(value, (list, tuple)):
        value = enumerate(value)
    else:
        yield name, np.asarray(value)
        return
    for key, part in value:
        yield from _leaves(f"{name}/{key}", part)


def assert_same(result: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """Compare two results bit by bit.

    Args:
        result (dict[str, np.ndarray]): One.
        other (dict[str, np.ndarray]): The other.
    """
    assert result.keys() == other.keys()
    different = [name for name, value in result.items() if not np.array_equal(value, other[name])]
    assert not different, different
