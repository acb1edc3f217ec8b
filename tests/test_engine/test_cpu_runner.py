"""Two processes compute the gradient, and the scores, of one process with the doubled batch."""

import json
from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_papers.apis.configs import CONFIGS

from ..generated_data import data_sets, generate
from ..short_training import FAMILIES, SMALL, short_config
from ..test_training import MIM, ROOT, run

#: Launcher -> the command before and after the config.
TRAIN = {
    "mim": ((MIM, "train", "mmseg"), ("--launcher", "pytorch", "--gpus", "2")),
    "torchrun": (
        (
            *(MIM.with_name("torchrun"), "--standalone", "--nproc-per-node", "2"),
            Path(mmseg.__path__[0]) / ".mim" / "tools" / "train.py",
        ),
        ("--launcher", "pytorch"),
    ),
}


def write_config(root, name=SMALL):
    """A config of one iteration without augmentation, for two processes on the CPU.

    The validation has three images, so that one process gets one more than the other.
    """
    config = short_config(root, name)
    for dataset in data_sets(config.val_dataloader.dataset):
        generate(dataset, Path(dataset.data_root), images=3)
    pipeline = config.train_dataloader.dataset.pipeline
    config.train_dataloader.dataset.pipeline = [
        *(step for step in pipeline if step["type"].startswith(("Load", "Add"))),
        dict(type="Resize", scale=(96, 64), keep_ratio=False),
        *(step for step in pipeline if step["type"].startswith("Pack")),
    ]
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    config.train_cfg.update(max_iters=1)
    config.dump(root / "short.py")
    file = root / "two_processes.py"
    file.write_text(
        f"_base_ = ['short.py', {str(CONFIGS / '_base_' / 'cpu_distributed.py')!r}]\n"
        "custom_imports = dict(imports=['mmseg_papers', 'tests.save_gradient'])\n"
        f"custom_hooks = [dict(type='SaveGradient', file={str(root / 'gradient.pth')!r})]\n"
    )
    return file


def scores(folder):
    (file,) = folder.rglob("scalars.json")
    (record,) = [r for r in map(json.loads, file.read_text().splitlines()) if "mIoU" in r]
    return {name: value for name, value in record.items() if "time" not in name}


@pytest.mark.parametrize(
    ("launcher", "name"),
    [
        ("mim", SMALL),
        pytest.param("torchrun", SMALL, marks=pytest.mark.slow),
        *(
            pytest.param("torchrun", name, marks=pytest.mark.slow, id=folder)
            for folder, name in FAMILIES.items()
        ),
    ],
)
def test_two_processes_are_one_with_the_doubled_batch(tmp_path, monkeypatch, launcher, name):
    file = write_config(tmp_path, name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for tests.save_gradient
    command, options = TRAIN[launcher]
    log = run(*command, file, *options, "--work-dir", tmp_path / "two", cwd=tmp_path)
    assert "Distributed training: True" in log
    two = torch.load((tmp_path / "gradient.pth").rename(tmp_path / "two.pth"))

    config = Config.fromfile(file)
    config.train_dataloader.batch_size = 4
    config.update(work_dir=str(tmp_path / "one"), experiment_name=str(tmp_path))
    config.visualizer.name = str(tmp_path)  # that of another test would write to its own folder
    runner = Runner.from_cfg(config)
    runner.train()
    one = torch.load(tmp_path / "gradient.pth")
    assert one.keys() == two.keys() == {n for n, _ in runner.model.named_parameters()}
    size = max(gradient.abs().max() for gradient in one.values())
    error = max((two[key] - gradient).abs().max() for key, gradient in one.items())
    print(f"{launcher} {name}: gradient up to {size:.3g}, difference {error:.3g}")
    assert error < 1e-6 * size
    assert scores(tmp_path / "two") == scores(tmp_path / "one")
