"""Configs on data of one's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mmseg
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.datasets.transforms import PackSegInputs, Resize

from mmseg_papers.apis import Predictor, on_own_data, with_crop_size
from mmseg_papers.apis.configs import packaged_configs, resolved_config

from ..families import FAMILIES, config_of, every_family
from ..generated_data import shrink
from ..test_configs import OPTIONS

CLASSES = ("road", "car", "sky")
MMSEG = Path(mmseg.__path__[0], ".mim")


def config_of_mmseg(name):
    return Config.fromfile(MMSEG / "configs" / name, import_custom_modules=False)


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


@pytest.mark.slow
def test_a_config_of_mmseg_trains_in_a_process_of_its_own(tmp_path):
    """Nothing else has imported this package there."""
    config = config_of_mmseg("fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py")
    config = shrink(on_own_data(config, "data/mine", CLASSES), tmp_path)
    config.dump(tmp_path / "mine.py")
    done = subprocess.run(
        [sys.executable, MMSEG / "tools" / "train.py", "mine.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "mIoU" in done.stdout + done.stderr


@pytest.mark.parametrize("imports", [None, "one", ["one", "mmseg_papers"]])
def test_keeps_the_imports(imports):
    config = resolved_config("hrnetv2_w18-small-v2_1xb8-20k_camvid-360x480")
    config.custom_imports = dict(imports=imports, allow_failed_imports=True)
    before = config.pretty_text
    adapted = on_own_data(config, "data/mine", CLASSES)
    assert config.pretty_text == before
    expected = ["mmseg_papers"] if imports is None else ["one", "mmseg_papers"]
    assert adapted.custom_imports == dict(imports=expected, allow_failed_imports=True)


def test_a_cascade_drops_the_old_class_weights():
    loss = dict(type="CrossEntropyLoss", class_weight=[1.0] * 19)
    heads = [dict(num_classes=19, loss_decode=loss), dict(num_classes=19, loss_decode=[loss])]
    config = Config(dict(model=dict(decode_head=heads), class_weight=[1.0] * 19))
    for split in ("train", "val", "test"):
        config[f"{split}_dataloader"] = dict()
    config = on_own_data(config, "data/mine", ("a", "b", "c"))
    assert [head.num_classes for head in config.model.decode_head] == [3, 3]
    assert "class_weight" not in config.pretty_text


def test_weights_of_the_old_classes_go_from_parts_of_a_head():
    """mmseg's Mask2Former and SAN have one more, of "no object"."""
    config = config_of_mmseg("mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py")
    head = config.model.decode_head
    head.train_cfg.assigner.match_costs[0].class_weight = [1.0] * 150
    head = on_own_data(config, "data/mine", CLASSES).model.decode_head
    assert head.num_classes == 3
    assert head.loss_cls.class_weight == [1.0, 1.0, 1.0, 0.1]
    assert "class_weight" not in head.train_cfg.assigner.match_costs[0]


def test_one_class_is_refused():
    config = config_of_mmseg("fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py")
    with pytest.raises(ValueError, match="--classes background road"):
        on_own_data(config, "data/mine", ("road",))
    with pytest.raises(TypeError, match="got the string 'road'"):
        on_own_data(config, "data/mine", "road")


def test_a_name_and_a_path(tmp_path):
    config = on_own_data(packaged_configs()[LARGEST].stem, tmp_path, CLASSES)
    assert config.train_dataloader.dataset.data_root == str(tmp_path)


LARGEST = "dsrl_espnetv2-s2-in512x1024_4xb4-120k_cityscapes-1024x2048"


@pytest.mark.parametrize("name", [*(name for name, _ in FAMILIES.values()), LARGEST])
def test_a_crop_is_mostly_image(name):
    """At the scale that the random factor is applied to, which is the tests', too."""
    config = on_own_data(resolved_config(name), "data/mine", CLASSES)
    resize, crop = (s for s in config.train_pipeline if s.type in ("RandomResize", "RandomCrop"))
    image = Resize(scale=resize.scale, keep_ratio=True)(dict(img=np.zeros((480, 640, 3), np.uint8)))
    inside = np.minimum(image["img_shape"], crop.crop_size).prod()
    assert inside / np.prod(crop.crop_size) > 0.6
    assert min(resize.scale) == min(config.crop_size)
    assert config.train_dataloader.dataset.pipeline == config.train_pipeline
    assert config.test_pipeline[1].scale == resize.scale
    assert config.test_pipeline == config.val_dataloader.dataset.pipeline
    assert config.test_pipeline == config.test_dataloader.dataset.pipeline
    assert resize.scale in [step.scale for step in config.tta_pipeline[1].transforms[0]]


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
    config = on_own_data(config, "data/mine", CLASSES)
    pipeline = config.train_dataloader.dataset.pipeline
    assert pipeline[-2:] == [edge, pack]
    assert pipeline == config.train_pipeline


def test_images_are_padded_for_a_network_that_takes_multiples():
    name = "ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py"
    config = with_crop_size(config_of_mmseg(name), (64, 64))
    predict = Predictor(on_own_data(config, "data/own", CLASSES), None, device="cpu")
    assert predict(np.zeros((20, 91, 3), np.uint8)).labels.shape == (20, 91)


def test_whole_images_are_padded_to_the_crop_at_least():
    config = on_own_data("deeplabv3_r101-mg124_4xb4-90k_cityscapes-769x769", "data/own", CLASSES)
    assert config.model.data_preprocessor.test_cfg.size == (769, 769)
    assert "test_size" not in config
