"""Checkpoints that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.registry import HOOKS


@register_backend("whole_files")
class WholeFilesBackend(LocalBackend):
    """Local files that appear when they are complete; what they replace is removed after that."""

    # Of each folder. Shared, as MMEngine removes through one object and writes through another.
    _outdated: dict[Path, list[str]] = {}

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file, then remove those of its folder that were given to :meth:`remove`.

        Args:
            obj (bytes): Content.
            filepath (str | Path): Where to.

        Raises:
            OSError: If it cannot be written, such as on a full disk; nothing was removed, nor will
                it be.
        """
        outdated = self._outdated.pop(Path(filepath).absolute().parent, [])
        partial = Path(filepath).with_name(".unfinished_checkpoint")
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, filepath)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise OSError(
                error.errno,
                f"{error.strerror}: cannot write {filepath} of {len(obj) / 1e6:.0f} MB. The "
                "checkpoints before it are as they were. Make room (a new one is written before an "
                "old one is removed; default_hooks.checkpoint.max_keep_ckpts keeps fewer) and "
                "train with --resume",
            ) from error
        for old in outdated:
            if old != str(filepath):
                super().remove(old)

    def remove(self, filepath: str | Path) -> None:
        """Have a file removed as soon as the next one in its folder is written.

        Args:
            filepath (str | Path): The file.
        """
        self._outdated.setdefault(Path(filepath).absolute().parent, []).append(str(filepath))


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """``CheckpointHook`` that never leaves the training without a checkpoint.

    MMEngine removes the old file, then writes the new one in place. This writes beside, renames,
    and removes last. With ``--resume`` it takes the newest file that is whole, and evaluates first
    if a training by iterations may have been cut off between a checkpoint and its evaluation, so
    that no best score is missed.

    Args:
        **options: As ``CheckpointHook``.
    """

    def __init__(self, **options) -> None:
        if "://" not in str(options.get("out_dir")):
            options.setdefault("backend_args", dict(backend="whole_files"))
        super().__init__(**options)

    def before_run(self, runner: Runner) -> None:
        """Choose the checkpoint to resume from.

        Args:
            runner (Runner): Of the training.

        Raises:
            RuntimeError: If there are checkpoints, but none is whole.
        """
        if not runner._resume or runner._load_from is not None or "://" in str(self.out_dir):
            return
        folder = Path(runner.work_dir)
        record = folder / "last_checkpoint"
        last = record.read_text().strip() if record.exists() else ""
        if self.out_dir is not None:
            folder = Path(self.out_dir, folder.name)
        files = sorted(folder.glob(self.filename_tmpl.format("*")), key=self._age, reverse=True)
        if last:
            # The record is an absolute path, which in a copied or moved folder is not its own.
            own = folder / Path(last).name
            files = [*([own] if own.exists() else []), Path(last), *files]
        damaged = []
        for file in dict.fromkeys(files):
            if is_whole(file):
                break
            damaged.append(str(file))
        else:
            if damaged:
                raise RuntimeError(
                    f"--resume found no whole checkpoint: {', '.join(damaged)} cut short or "
                    f"missing. To start anew, remove them and {record}"
                )
            return
        if damaged:
            print_log(
                f"{', '.join(damaged)} cut short or missing; resuming from {file}",
                "current",
                logging.WARNING,
            )
        if str(file) != last:
            runner._load_from = str(file)

    def _age(self, file: Path) -> tuple[int, float]:
        """Iteration or epoch in a checkpoint's name, and time, which a copy may not keep."""
        pattern = re.escape(self.filename_tmpl).replace(r"\{\}", r"(\d+)")
        number = re.fullmatch(pattern, file.name)
        return int(number[1]) if number else -1, file.stat().st_mtime

    def before_train_epoch(self, runner: Runner) -> None:
        """Evaluate, if a training by iterations may have been cut off before that was done.

        The checkpoint is written first, and records its evaluation only with a new best score.

        Args:
            runner (Runner): Of the training.
        """
        loop, done = runner.train_loop, runner.iter
        if self.by_epoch or not isinstance(loop, IterBasedTrainLoop):
            return  # an interval of epochs
        if runner.val_loop is None or not loop.val_begin <= done or done == 0:
            return
        if done % loop.val_interval and done != loop.max_iters:
            return
        if runner.message_hub.get_info("evaluated_iter") != done:
            print_log(
                f"The checkpoint of iteration {done} lacks its evaluation: first that", "current"
            )
            # What MMEngine writes again with a new best score.
            self.last_ckpt = runner.message_hub.get_info("last_ckpt")
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Save the best.

        Args:
            runner (Runner): Of the training.
            metrics (dict[str, float]): Of the evaluation.
        """
        runner.message_hub.update_info("evaluated_iter", runner.iter)
        super().after_val_epoch(runner, metrics)


def is_whole(file: Path) -> bool:
    """Whether a checkpoint is all there: PyTorch's files are ZIP archives with check sums.

    Args:
        file (Path): Checkpoint.

    Returns:
        bool: False also if there is no such file.
    """
    try:
        with ZipFile(file) as archive:
            return archive.testzip() is None
    except (OSError, BadZipFile):
        return False
