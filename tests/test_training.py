"""What a user types: train, test, infer and analyse through OpenMMLab's own commands."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.apis import MMSegInferencer

from mmseg_papers.apis.configs import packaged_configs
from mmseg_papers.checkpoints.files import read_checkpoint
from mmseg_papers.datasets.street_scenes import write_street_scenes

from .generated_data import shrink

ROOT = Path(__file__).parents[1]
DEMO = packaged_configs()["hrnetv2_w18-small-v1_1xb8-400iters_street-scenes-128x256"]
MIM = Path(sys.executable).with_name("mim")


@pytest.fixture
def scenes(tmp_path):
    root = tmp_path / "scenes"
    write_street_scenes(root, num_train=8, num_val=3, size=(64, 128), seed=0)
    return root


def run(*command, cwd):
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="-1", PYTHONWARNINGS="ignore")
    result = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-5000:]
    return result.stdout


def short_run(scenes, iters):
    """Options that make any config with the Cityscapes layout a run of seconds."""
    options = [
        f"train_cfg.max_iters={iters}",
        f"train_cfg.val_interval={iters}",
        f"default_hooks.checkpoint.interval={iters}",
        "default_hooks.logger.interval=1",
        "default_hooks.visualization.interval=1",
        "train_dataloader.batch_size=2",
        "model.data_preprocessor.size=(64,128)",
    ]
    for split in ("train", "val", "test"):
        options += [
            f"{split}_dataloader.num_workers=0",
            f"{split}_dataloader.persistent_workers=False",
            f"{split}_dataloader.dataset.data_root={scenes}",
        ]
    return ["--cfg-options", *options]


def test_train_test_infer_analyse(scenes, tmp_path):
    options = short_run(scenes, iters=4)
    work_dir = tmp_path / "work"
    log = run(
        *(MIM, "train", "mmseg", DEMO, "--gpus", "0", "--work-dir", work_dir),
        *(*options, "train_dataloader.dataset.pipeline.3.crop_size=(64,128)"),
        cwd=tmp_path,
    )
    assert "mIoU:" in log
    checkpoint = work_dir / "iter_4.pth"
    (scalars,) = work_dir.glob("*/vis_data/scalars.json")
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert sum("loss" in record for record in records) == 4

    log = run(
        *(MIM, "test", "mmseg", DEMO, "--checkpoint", checkpoint, "--gpus", "0"),
        *("--work-dir", tmp_path / "test", "--show-dir", tmp_path / "show", *options),
        cwd=tmp_path,
    )
    assert "mIoU:" in log
    assert "Could not safely load weights" not in log
    assert len(list((tmp_path / "show").rglob("*.png"))) == 3

    curve = tmp_path / "curve.png"
    run(
        *(MIM, "run", "mmseg", "analyze_logs", scalars, "--keys", "mIoU", "--out", curve),
        cwd=tmp_path,
    )
    assert curve.stat().st_size > 0

    script = ROOT / "tools" / "analysis_tools" / "training_report.py"
    run(sys.executable, script, DEMO, work_dir, *options, cwd=tmp_path)
    assert {p.name for p in (work_dir / "report").iterdir()} == {"predictions.png", "curves.png"}

    image = next(scenes.glob("leftImg8bit/val/*/*.png"))
    inferencer = MMSegInferencer(str(DEMO), str(checkpoint), device="cpu")
    prediction = inferencer(str(image), show=False)["predictions"]
    assert np.asarray(prediction).shape == (64, 128)


def test_an_mmseg_config_needs_two_changes(scenes, tmp_path):
    """``custom_imports`` and the backbone's type turn mmseg's HRNet config into ours."""
    shutil.copytree(Path(mmseg.__path__[0]) / ".mim" / "configs", tmp_path / "configs")
    theirs = tmp_path / "configs" / "hrnet" / "fcn_hr18s_4xb2-40k_cityscapes-512x1024.py"
    ours = theirs.with_name("mine.py")
    ours.write_text(
        f"_base_ = './{theirs.name}'\n"
        "custom_imports = dict(imports=['mmseg_papers'], allow_failed_imports=False)\n"
        "model = dict(backbone=dict(type='HighResolutionNet'))\n"
    )
    assert (
        Config.fromfile(ours).model.backbone.extra == Config.fromfile(theirs).model.backbone.extra
    )
    log = run(
        *(MIM, "train", "mmseg", ours, "--gpus", "0", "--work-dir", tmp_path / "work"),
        *short_run(scenes, iters=2),
        *("model.pretrained=None", "train_dataloader.dataset.pipeline.3.crop_size=(64,128)"),
        *("train_dataloader.dataset.pipeline.2.scale=(128,64)",),
        *("val_dataloader.dataset.pipeline.1.scale=(128,64)",),
        cwd=tmp_path,
    )
    assert "HighResolutionNet" in log
    assert "mIoU:" in log


def test_the_error_is_the_last_line_of_the_training_process(tmp_path):
    """mim adds its own report below; the process's own last line has to say what to do."""
    train = Path(mmseg.__path__[0]) / ".mim" / "tools" / "train.py"
    result = subprocess.run(
        [
            *(sys.executable, train, packaged_configs()["hrnetv2_w48_1xb8-20k_camvid-360x480"]),
            *("--work-dir", tmp_path / "work"),
            *("--cfg-options", "model.backbone.arch=w18_small_v1"),
            "model.decode_head.in_channels=(16,32,64,128)",
        ],
        cwd=tmp_path,
        env=dict(os.environ, CUDA_VISIBLE_DEVICES="-1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    last = "\n".join(result.stderr.splitlines()[-4:])
    assert "images/train.\nGet the CamVid folder" in last
    assert "Or set data_root to where the data lie." in last


SMALL_DEEPLAB = {
    "model.data_preprocessor.test_cfg": None,
    "model.backbone.depth": 18,
    "model.backbone.multi_grid": (1, 2),
    "model.backbone.init_cfg": None,
    "model.decode_head.in_channels": 512,
    "model.decode_head.channels": 16,
}


def test_deeplab_has_one_option_for_the_output_stride_and_a_second_step(tmp_path):
    """The first step's weights are tested at another output stride, and trained on there."""
    configs, name = packaged_configs(), "deeplabv3_r101-mg124{}_4xb4-30k_voc12{}-513x513"
    first = Config.fromfile(configs[name.format("", "aug")])
    first = shrink(first, tmp_path / "first", **SMALL_DEEPLAB)
    file, checkpoint = tmp_path / "config.py", tmp_path / "first.pth"
    first.dump(file)
    runner = Runner.from_cfg(first)
    runner.train()
    runner.save_checkpoint(str(tmp_path), checkpoint.name)
    found = {}
    for output_stride in (16, 8):
        config = Config.fromfile(file)
        config.merge_from_dict(
            {
                "model.output_stride": output_stride,
                "load_from": str(checkpoint),
                "experiment_name": f"{tmp_path}{output_stride}",
            }
        )
        found[output_stride] = Runner.from_cfg(config).test()["aAcc"]
    assert found[8] != found[16]
    log = run(
        *(MIM, "test", "mmseg", file, "--checkpoint", checkpoint, "--gpus", "0"),
        *("--work-dir", tmp_path / "test", "--cfg-options", "model.output_stride=8"),
        cwd=tmp_path,
    )
    assert re.search(r"aAcc: ([\d.]+)", log)[1] == f"{found[8]:.4f}"

    second = Config.fromfile(configs[name.format("-os8-frozen-bn", "-trainval")])
    options = dict(SMALL_DEEPLAB, load_from=str(checkpoint))
    runner = Runner.from_cfg(shrink(second, tmp_path / "second", **options))
    runner.train()
    assert runner.model.backbone.output_stride == 8
    before = read_checkpoint(str(checkpoint))["state_dict"]
    after = runner.model.state_dict()
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    changed = {k for k, v in before.items() if not torch.equal(v, after[k])}
    assert not {k for k in changed if k.endswith(statistics)}
    assert {"backbone.layer1.0.bn1.bias", "decode_head.aspp.bottleneck.bn.bias"} <= changed
