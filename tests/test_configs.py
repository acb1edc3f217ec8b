"""One body for all configs: they build, train a step, predict, and are what they are called."""

import re

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.runner import Runner
from mmseg.registry import DATASETS, MODELS

from mmseg_papers.apis.configs import CONFIGS, packaged_configs
from mmseg_papers.apis.zoo import without_pretrained

from .generated_data import CROP, data_sets, shrink

#: Folder of configs -> options that its models need beyond what ``shrink`` sets.
OPTIONS: dict[str, dict] = {
    # The prior fits one crop, which smaller test images are padded to.
    "cpnet": {"model.decode_head.prior_size": (CROP[0] // 8, CROP[1] // 8)},
    # Evaluates at the generated images' size instead of padding them to the data set's.
    "deeplabv3": {"model.data_preprocessor.test_cfg": None},
    "deeplabv3plus": {"model.data_preprocessor.test_cfg": None},
}
NAMES = list(packaged_configs())


def load(name):
    return Config.fromfile(packaged_configs()[name])


def heads(config):
    """The decode heads of a config: one, or the stages of a cascade."""
    head = config.model.decode_head
    return head if isinstance(head, list) else [head]


@pytest.mark.parametrize("name", NAMES)
def test_trains_and_evaluates(name, tmp_path, monkeypatch):
    config = shrink(load(name), tmp_path, **OPTIONS.get(packaged_configs()[name].parent.name, {}))
    config.model = without_pretrained(config.model)
    # A run formats its config four times, which would take a third of this test; once is enough.
    monkeypatch.setattr(Config, "pretty_text", config.pretty_text)
    runner = Runner.from_cfg(config)
    with_gradient = set()
    trained = {n: p for n, p in runner.model.named_parameters() if p.requires_grad}
    for parameter_name, parameter in trained.items():
        parameter.register_hook(lambda _, n=parameter_name: with_gradient.add(n))
    runner.train()
    losses, _ = runner.message_hub.get_scalar("train/loss").data
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    assert set(trained) == with_gradient, "parameters without a gradient stop distributed training"
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100


@pytest.mark.parametrize("name", NAMES)
def test_is_what_its_name_says(name):
    config = load(name)
    gpus, batch, schedule, _data, height, width = re.fullmatch(
        r".+_(\d+)xb(\d+)-(\d+k|\d+iters)_([a-z\d-]+)-(\d+)x(\d+)", name
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
    classes = {head.num_classes for head in heads(config)}
    for key in ("train_dataloader", "val_dataloader", "test_dataloader"):
        for dataset in data_sets(config[key].dataset):
            pipeline = Compose(dataset.pipeline)
            strict = [t for t in pipeline.transforms if type(t).__name__ == "StrictLoadAnnotations"]
            assert [{t.num_classes} for t in strict] == [classes]
            names = dataset.get("classes") or DATASETS.get(dataset.type).METAINFO["classes"]
            assert {len(names)} == classes
    if "tta_pipeline" in config:
        Compose(config.tta_pipeline)


#: Height and width of all images of a data set; those of others vary.
IMAGE_SIZES = {"CityscapesDataset": (1024, 2048), "BDD100KDataset": (720, 1280)}


@pytest.mark.parametrize("name", NAMES)
def test_tta_holds_the_size_of_the_plain_test(name):
    config = load(name)
    dataset = config.test_dataloader.dataset
    size = IMAGE_SIZES.get(dataset.type, (375, 500))

    def resized(*steps):
        image = np.zeros((*size, 3), np.uint8)
        return Compose(steps)(dict(img=image, img_shape=size, scale_factor=(1, 1)))["img"].shape

    plain = resized(*[step for step in dataset.pipeline if step.type == "Resize"])
    resizes = config.tta_pipeline[1].transforms[0]
    assert {step.type for step in resizes} == {"Resize"}
    assert plain in [resized(step) for step in resizes]


def test_stand_alone():
    """MMEngine answers a reference into mmseg by installing another mmseg."""
    for file in CONFIGS.rglob("*.py"):
        assert "mmseg::" not in file.read_text(), file


MODELS_LISTED = {
    model["Name"]: (metafile.parent.name, model)
    for metafile in sorted(CONFIGS.glob("*/metafile.yaml"))
    for model in yaml.safe_load(metafile.read_text())["Models"]
}


def test_metafiles_list_every_config():
    assert sorted(MODELS_LISTED) == sorted(NAMES)
    for name, (folder, model) in MODELS_LISTED.items():
        assert model["Config"] == f"configs/{folder}/{name}.py"


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts(name):
    """Those in the metafiles, which the papers and read-mes print or the code counts."""
    _, listed = MODELS_LISTED[name]
    with torch.device("meta"):
        model = MODELS.build(load(name).model)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert round(millions, 2) == listed["Metadata"]["Parameters (M)"]


@pytest.mark.parametrize("name", [n for n in NAMES if packaged_configs()[n].parent.name == "hanet"])
def test_height_attention_has_a_weight_decay_of_its_own(name):
    assert load(name).optim_wrapper.paramwise_cfg.custom_keys.height_attention.decay_mult == 0.2


@pytest.mark.parametrize(
    "name", [n for n in NAMES if packaged_configs()[n].parent.name == "refinenet"]
)
def test_statistics_of_a_refinenets_backbone_stay(name):
    with torch.device("meta"):
        backbone = MODELS.build(load(name).model.backbone).train()
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)
