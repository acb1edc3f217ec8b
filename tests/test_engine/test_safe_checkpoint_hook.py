"""Damaged files, a full disk, and what the user reads of them."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import get_file_backend
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmseg.registry import HOOKS

from mmseg_papers.apis.configs import packaged_configs
from mmseg_papers.engine.safe_checkpoint_hook import SafeCheckpointHook, is_whole

from ..short_training import short_config


class Stop(Exception):
    pass


@HOOKS.register_module()
class StopBeforeTraining(Hook):
    """So that a test sees where a training would begin."""

    def before_train(self, runner):
        raise Stop(runner.iter)


@pytest.fixture
def config(tmp_path):
    return short_config(
        tmp_path,
        **{
            "train_dataloader.num_workers": 0,
            "train_dataloader.persistent_workers": False,
            "default_hooks.checkpoint.max_keep_ckpts": -1,
            "train_cfg.max_iters": 4,
            "val_dataloader": None,
            "val_cfg": None,
            "val_evaluator": None,
        },
    )


def resumed_at(config):
    """Iteration at which ``--resume`` begins, and the log."""
    again = config.copy()
    again.merge_from_dict({"resume": True, "experiment_name": f"{config.experiment_name}-again"})
    again.custom_hooks = [*config.custom_hooks, dict(type="StopBeforeTraining")]
    with pytest.raises(Stop) as stop:
        Runner.from_cfg(again).train()
    log = max(Path(config.work_dir).glob("*/*.log"), key=lambda file: file.stat().st_mtime)
    return stop.value.args[0], log.read_text()


def test_takes_the_newest_whole_checkpoint(config):
    Runner.from_cfg(config).train()
    folder = Path(config.work_dir)
    iteration, log = resumed_at(config)
    assert iteration == 4
    assert "cut short" not in log
    newest = folder / "iter_4.pth"
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) // 2])
    iteration, log = resumed_at(config)
    assert iteration == 2
    assert f"WARNING - {newest} cut short or missing; resuming from {folder / 'iter_2.pth'}" in log
    (folder / "last_checkpoint").write_text("")  # the process died as it was written
    assert resumed_at(config)[0] == 2
    (folder / "iter_2.pth").write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"no whole checkpoint: .*iter_\d.pth.*remove them"):
        resumed_at(config)


def test_a_copied_folder_resumes_from_its_own_newest(tmp_path):
    """Its record names the place that it was copied from; the files' times are of the copying."""
    for i, name in enumerate(["iter_10", "iter_8", "iter_2", "iter_new"]):
        torch.save({}, tmp_path / f"{name}.pth")
        os.utime(tmp_path / f"{name}.pth", (i, i))
    (tmp_path / "last_checkpoint").write_text("/gone/run/iter_8.pth")

    def chosen():
        runner = SimpleNamespace(_resume=True, _load_from=None, work_dir=str(tmp_path))
        SafeCheckpointHook(by_epoch=False).before_run(runner)
        return Path(runner._load_from)

    assert chosen() == tmp_path / "iter_8.pth"
    (tmp_path / "iter_8.pth").unlink()
    assert chosen() == tmp_path / "iter_10.pth"


@pytest.mark.parametrize("loop", [IterBasedTrainLoop, EpochBasedTrainLoop])
def test_evaluates_first_in_a_training_by_iterations_only(loop):
    """The interval of other loops does not count iterations."""
    runner = MagicMock(iter=4)
    runner.message_hub.get_info.return_value = None
    runner.train_loop = MagicMock(spec=loop, val_begin=1, val_interval=2, max_iters=8)
    SafeCheckpointHook(by_epoch=False).before_train_epoch(runner)
    assert runner.val_loop.run.called == (loop is IterBasedTrainLoop)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_sees_a_changed_byte(tmp_path, place):
    file = tmp_path / "iter_2.pth"
    torch.save(dict(state_dict=dict(weight=torch.rand(100, 100))), file)
    assert is_whole(file)
    content = bytearray(file.read_bytes())
    content[int(len(content) * place)] ^= 1
    file.write_bytes(content)
    assert not is_whole(file)


def test_full_disk(config, tmp_path):
    """The partial file is a link to a device that is always full."""
    Runner.from_cfg(config).train()
    folder = Path(config.work_dir)
    content = (folder / "iter_4.pth").read_bytes()
    (folder / ".unfinished_checkpoint").symlink_to("/dev/full")
    config.merge_from_dict(
        {
            "resume": True,
            "train_cfg.max_iters": 6,
            "experiment_name": f"{tmp_path}-full",
            "default_hooks.checkpoint.max_keep_ckpts": 1,
        }
    )
    with pytest.raises(
        OSError, match=r"cannot write .*iter_6.pth .*as they were.*--resume"
    ) as full:
        Runner.from_cfg(config).train()
    assert full.value.errno == errno.ENOSPC
    assert (folder / "iter_4.pth").read_bytes() == content
    assert not (folder / "iter_6.pth").exists()


def test_removes_after_it_has_written(tmp_path):
    old, new = tmp_path / "old.pth", tmp_path / "new.pth"
    old.write_bytes(b"old")
    backend = dict(backend="whole_files")
    get_file_backend(backend_args=dict(backend)).remove(old)
    assert old.exists()
    get_file_backend(backend_args=dict(backend)).put(b"new", new)
    assert not old.exists()
    assert new.read_bytes() == b"new"


def test_a_failed_write_removes_nothing_later(tmp_path):
    backend = get_file_backend(backend_args=dict(backend="whole_files"))
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        folder.mkdir()
        (folder / "old.pth").write_bytes(b"old")
        backend.remove(folder / "old.pth")
    (first / ".unfinished_checkpoint").symlink_to("/dev/full")
    with pytest.raises(OSError, match="cannot write"):
        backend.put(b"new", first / "new.pth")
    backend.put(b"new", second / "new.pth")
    backend.put(b"new", first / "new.pth")
    assert [folder.name for folder in (first, second) if (folder / "old.pth").exists()] == ["first"]


@pytest.mark.parametrize("name", packaged_configs())
def test_every_config_resumes_exactly(name):
    config = Config.fromfile(packaged_configs()[name])
    assert config.default_hooks.checkpoint.type == "SafeCheckpointHook"
    assert config.train_cfg.type == "SeededTrainLoop"
