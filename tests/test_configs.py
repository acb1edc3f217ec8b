"""One body for all configs: they build, train a step, predict, and are what they are called."""

import re

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample

from mmseg_papers.__main__ import CONFIGS, packaged_configs

#: Parameters in millions as the papers and read-mes print them (``hrnet`` with 19 classes).
PARAMETERS = {
    "hrnetv2_w18-small-v1_4xb3-120k_cityscapes-512x1024": 1.54,
    "hrnetv2_w18-small-v2_4xb3-120k_cityscapes-512x1024": 3.94,
    "hrnetv2_w18_4xb3-120k_cityscapes-512x1024": 9.64,
    "hrnetv2_w32_4xb3-120k_cityscapes-512x1024": 29.55,
    "hrnetv2_w40_4xb3-120k_cityscapes-512x1024": 45.89,
    "hrnetv2_w48_4xb3-120k_cityscapes-512x1024": 65.86,
}
NAMES = list(packaged_configs())


def load(name):
    return Config.fromfile(packaged_configs()[name])


def sample(height, width, num_classes):
    label = torch.randint(0, num_classes, (1, height, width))
    label[:, :5] = 255
    meta = dict(img_shape=(height, width), ori_shape=(height, width), pad_shape=(height, width))
    return SegDataSample(gt_sem_seg=PixelData(data=label), metainfo=meta)


@pytest.mark.parametrize("name", NAMES)
def test_trains_a_step_and_predicts(name):
    config = load(name)
    model = revert_sync_batchnorm(MODELS.build(config.model))
    num_classes = config.model.decode_head.num_classes
    samples = [sample(64, 96, num_classes) for _ in range(2)]
    losses = model(torch.randn(2, 3, 64, 96), samples, mode="loss")
    loss = model.parse_losses(losses)[0]
    assert torch.isfinite(loss)
    loss.backward()
    unused = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused
    model.eval()
    with torch.no_grad():
        result = model(torch.randn(1, 3, 65, 97), [sample(65, 97, num_classes)], mode="predict")
    assert result[0].pred_sem_seg.data.shape == (1, 65, 97)


@pytest.mark.parametrize("name", NAMES)
def test_is_what_its_name_says(name):
    config = load(name)
    gpus, batch, schedule, _data, height, width = re.fullmatch(
        r".+_(\d+)xb(\d+)-(\d+k|\d+iters)_([a-z-]+)-(\d+)x(\d+)", name
    ).groups()
    assert config.train_dataloader.batch_size == int(batch), f"{gpus} GPUs, {batch} images each"
    iters = int(schedule.rstrip("iters").rstrip("k")) * (1000 if schedule.endswith("k") else 1)
    assert config.train_cfg.max_iters == iters
    assert config.param_scheduler[-1].end == iters
    assert tuple(config.crop_size) == (int(height), int(width))
    assert tuple(config.model.data_preprocessor.size) == tuple(config.crop_size)


@pytest.mark.parametrize("name", NAMES)
def test_pipelines_and_data_sets_build(name):
    config = load(name)
    classes = config.model.decode_head.num_classes
    for key in ("train_dataloader", "val_dataloader", "test_dataloader"):
        dataset = config[key].dataset
        pipeline = Compose(dataset.pipeline)
        strict = [t for t in pipeline.transforms if type(t).__name__ == "StrictLoadAnnotations"]
        assert [t.num_classes for t in strict] == [classes]
        built = DATASETS.get(dataset.type)
        assert len(built.METAINFO["classes"]) == classes
    if "tta_pipeline" in config:
        Compose(config.tta_pipeline)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameter_counts(name):
    model = MODELS.build(load(name).model)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert round(millions, 2) == PARAMETERS[name]


def test_stand_alone():
    """MMEngine answers a reference into mmseg by installing another mmseg."""
    for file in CONFIGS.rglob("*.py"):
        assert "mmseg::" not in file.read_text(), file


def test_metafiles_list_every_config():
    listed = []
    for metafile in CONFIGS.glob("*/metafile.yaml"):
        for model in yaml.safe_load(metafile.read_text())["Models"]:
            assert model["Config"] == f"configs/{metafile.parent.name}/{model['Name']}.py"
            listed.append(model["Name"])
    assert sorted(listed) == sorted(NAMES)
