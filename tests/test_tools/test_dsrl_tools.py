"""DSRL's tools: weights without training branches, and the picture of what SISR restores."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image

from mmseg_papers.apis import Predictor

TOOLS = Path(__file__).parents[2] / "tools"
MODEL = dict(
    type="DSRLEncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(type="ESPNetv2", scale=0.5),
    decode_head=dict(type="ESPNetv2Head", in_channels=(16, 32, 64, 128), num_classes=4),
    sisr_head=dict(type="SISRHead", in_channels=32, in_index=1),
    feature_transform=dict(in_channels=2, out_channels=4),
    loss_fa=dict(type="FeatureAffinityLoss"),
    test_cfg=dict(mode="whole"),
)
DATA = dict(
    dataset=dict(
        type="CamVidDataset",
        classes=("a", "b", "c", "d"),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(50, 38), keep_ratio=False),
            dict(type="LoadAnnotations"),
            dict(type="PackSegInputs"),
        ],
    )
)


def load(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def super_resolution():
    return load(TOOLS / "analysis_tools" / "super_resolution.py")


def run(monkeypatch, tool, *arguments):
    monkeypatch.setattr(sys, "argv", ["tool", *map(str, arguments)])
    tool.main()


def test_draws_input_reconstruction_and_image(super_resolution, tmp_path, monkeypatch, capsys):
    config, weights, image = (tmp_path / name for name in ("c.py", "w.pth", "street.png"))
    Config(dict(model=MODEL, test_dataloader=DATA)).dump(config)
    torch.save(dict(state_dict=MODELS.build(MODEL).state_dict()), weights)
    pixels = np.full((40, 60, 3), (200, 100, 50), np.uint8)
    Image.fromarray(pixels).save(image)
    out = tmp_path / "picture.png"
    run(monkeypatch, super_resolution, config, weights, image, image, "--out", out)
    assert f"wrote {out}" in capsys.readouterr().out
    assert Image.open(out).size[0] == 1800

    predictor = Predictor(config, weights, "cpu")
    half, restored, full = super_resolution.super_resolve(predictor, pixels[..., ::-1]).values()
    assert (half.shape, restored.shape, full.shape) == ((19, 25, 3), (38, 50, 3), (38, 50, 3))
    expected = torch.tensor([200, 100, 50]).expand(38, 50, 3) / 255
    torch.testing.assert_close(full, expected)
    assert super_resolution.psnr(full, full) > 60 > super_resolution.psnr(restored, full)


def test_a_model_without_sisr_is_refused(super_resolution, tmp_path, monkeypatch, capsys):
    plain = dict(MODEL, sisr_head=None, feature_transform=None, loss_fa=None)
    config, weights, image = (tmp_path / name for name in ("c.py", "w.pth", "street.png"))
    Config(dict(model=plain, test_dataloader=DATA)).dump(config)
    torch.save(dict(state_dict=MODELS.build(plain).state_dict()), weights)
    for message in ("street.png is no image that OpenCV can read", "has no sisr_head"):
        with pytest.raises(SystemExit):
            run(monkeypatch, super_resolution, config, weights, image)
        assert message in capsys.readouterr().err
        Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(image)
