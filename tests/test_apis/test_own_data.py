"""Configs on data of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.datasets.transforms import PackSegInputs

from mmseg_papers.apis import on_own_data
from mmseg_papers.apis.configs import packaged_configs, resolved_config

from ..families import FAMILIES, config_of, every_family
from ..generated_data import shrink
from ..test_configs import OPTIONS

CLASSES = ("road", "car", "sky")


@every_family
def test_trains_and_evaluates(family, tmp_path):
    config = on_own_data(config_of(family), "data/mine", CLASSES)
    folder = packaged_configs()[FAMILIES[family][0]].parent.name
    shrink(config, tmp_path, **OPTIONS.get(folder, {}))
    runner = Runner.from_cfg(config)
    runner.train()
    losses, _ = runner.message_hub.get_scalar("train/loss").data
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    assert 0 <= runner.message_hub.get_scalar("val/mIoU").current() <= 100


def test_a_cascade_drops_the_old_class_weights():
    loss = dict(type="CrossEntropyLoss", class_weight=[1.0] * 19)
    heads = [dict(num_classes=19, loss_decode=loss), dict(num_classes=19, loss_decode=[loss])]
    config = Config(dict(model=dict(decode_head=heads), class_weight=[1.0] * 19))
    for split in ("train", "val", "test"):
        config[f"{split}_dataloader"] = dict()
    config = on_own_data(config, "data/mine", ("a", "b", "c"))
    assert [head.num_classes for head in config.model.decode_head] == [3, 3]
    assert "class_weight" not in config.pretty_text


@pytest.mark.parametrize("kind", ["mmseg.PackSegInputs", PackSegInputs, "SomeInputs"])
def test_always_packs(kind):
    config = resolved_config("hrnetv2_w18-small-v2_1xb8-20k_camvid-360x480")
    config.train_dataloader.dataset.pipeline[-1] = dict(type=kind)
    pipeline = on_own_data(config, "data/mine", CLASSES).train_dataloader.dataset.pipeline
    assert pipeline[-1]["type"] == ("PackSegInputs" if kind == "SomeInputs" else kind)


def test_left_and_right_of_the_old_classes_are_forgotten():
    config = resolved_config("hrnetv2_w48_4xb10-110k_lip-473x473")
    assert "swap_labels" in config.pretty_text
    assert "swap_labels" not in on_own_data(config, "data/mine", CLASSES).pretty_text


def test_needs_heads_with_classes():
    config = Config(dict(model=dict(decode_head=dict(type="IterativeDecodeHead"))))
    for split in ("train", "val", "test"):
        config[f"{split}_dataloader"] = dict()
    with pytest.raises(ValueError, match=r"decode_head IterativeDecodeHead .* has no num_classes"):
        on_own_data(config, "data/mine", ("a", "b"))


def test_keeps_the_classes_of_a_head_that_sees_others():
    """STDC's boundary head has two classes, whatever the data."""
    heads = [dict(num_classes=19), dict(num_classes=2)]
    config = Config(dict(model=dict(decode_head=dict(num_classes=19), auxiliary_head=heads)))
    for split in ("train", "val", "test"):
        config[f"{split}_dataloader"] = dict()
    config = on_own_data(config, "data/mine", CLASSES)
    assert config.model.decode_head.num_classes == 3
    assert [head.num_classes for head in config.model.auxiliary_head] == [3, 2]


def test_keeps_training_steps_that_a_loss_needs():
    config = resolved_config("hrnetv2_w18-small-v2_1xb8-20k_camvid-360x480")
    edge, pack = dict(type="GenerateEdge", edge_width=4), dict(type="PackSegInputs", meta_keys=())
    config.train_dataloader.dataset.pipeline[-1:] = [edge, pack]  # as mmseg's PIDNet
    pipeline = on_own_data(config, "data/mine", CLASSES).train_dataloader.dataset.pipeline
    assert pipeline[-2:] == [edge, pack]
    assert pipeline == config.train_pipeline
