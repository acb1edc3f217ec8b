"""Counts of the published models, and what the tool finds wrong."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS

from mmseg_papers.apis import entries, entry, multiply_adds
from mmseg_papers.ops import use_references

FILE = Path(__file__).parents[2] / "tools" / "verify_tables.py"
SMALL = "espnetv2-s2_4xb4-120k_cityscapes-256x512"
PUBLISHED = [e for e in entries() if e.published]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("verify_tables", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("found", PUBLISHED, ids=lambda e: e.name)
def test_counts_are_the_published_ones_or_explained(tool, found):
    assert tool.faults(found, *tool.count(found)) == []


def test_every_paper_with_published_counts_is_there():
    names = {e.paper.name for e in PUBLISHED}
    # RefineNet's full models: no count of theirs was found.
    assert {e.paper.name for e in entries()} - names == {"RefineNet"}


def test_prints_a_row_for_each_published_count(tool, capsys):
    assert tool.main([SMALL]) == 0
    _, _, *rows, _, last = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[:5] for row in rows] == [
        [SMALL, "Parameters (M)", "0.79", "0.79", "0"],
        [SMALL, "Multiply-adds (M)", "674.46", "674.78", "-0.32"],
    ]
    assert "readme of Xilinx/DSRL" in rows[1]
    assert last == "0 of 1 differences are not explained"


def test_counts_what_nobody_explains(tool, capsys):
    assert tool.main(["hrnetv2_w40*"]) == 0
    assert capsys.readouterr().out.endswith("\n\n2 of 2 differences are not explained\n")


def test_refuses_a_pattern_that_nothing_fits(tool, capsys):
    assert tool.main(["hrnett"]) == 1
    assert capsys.readouterr() == ("", "no config and no paper fits 'hrnett'\n")


def test_finds_wrong_and_unexplained_counts(tool, monkeypatch, capsys):
    found = entry(SMALL)
    parameters, operations = found.published
    wrong = replace(
        found,
        multiply_adds=1.0,
        published=(
            {**parameters, "Difference": "none"},
            {k: v for k, v in operations.items() if k != "Difference"},
        ),
    )
    monkeypatch.setattr(tool, "entries", lambda pattern: [wrong])
    assert tool.main([]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{SMALL}: Multiply-adds (G) is 0.67, its metafile says 1.0",
        f"{SMALL}: Parameters (M) 0.79 against 0.79 is explained, but equal",
        f"{SMALL}: Multiply-adds (M) 674.46 against 674.78 has no Difference",
    ]


def test_espnetv2_has_the_published_operations_with_21_outputs():
    config = Config.fromfile(entry(SMALL).config).model
    config.decode_head.update(num_classes=20, void_class=True)
    with torch.device("meta"), use_references():
        model = revert_sync_batchnorm(MODELS.build(config)).to("meta").eval()
        operations = multiply_adds(model, torch.empty(1, 3, 256, 512))
    assert round(operations / 1e6, 2) == 674.78


@pytest.mark.parametrize(
    ("name", "published", "difference"),
    [
        ("deeplabv3_r101-mg124_4xb4-30k_voc12aug-513x513", 81.02, -0.19),
        ("deeplabv3plus_r101-mg124-os8_4xb4-30k_voc12aug-513x513", 297.92, -0.24),
        # The paper's number is 20.26 G above its DeepLabV3, whose decoder has 21.76 G.
        ("deeplabv3plus_r101-mg124_4xb4-30k_voc12aug-513x513", 101.28, 1.31),
    ],
)
def test_deeplab_of_resnet101_as_tensorflow_computes_it(name, published, difference):
    """slim's beta network, atrous convolutions over maps padded to a multiple of the rate."""
    config = Config.fromfile(entry(name).config).model
    config.backbone.update(style="tensorflow", deep_stem=True, stem_channels=128)
    padded = 0

    def count_padding(conv, inputs, output):
        nonlocal padded
        rate, size = conv.dilation[0], output.shape[2:]
        full = math.prod(math.ceil(length / rate) * rate for length in size)
        padded += conv.weight.numel() * (full - math.prod(size))

    with torch.device("meta"), use_references():
        model = revert_sync_batchnorm(MODELS.build(config)).to("meta").eval()
        for conv in model.modules():
            if isinstance(conv, torch.nn.Conv2d):
                conv.register_forward_hook(count_padding)
        operations = multiply_adds(model, torch.empty(1, 3, 513, 513))
    assert (operations + padded) / 1e9 - published == pytest.approx(difference, abs=0.01)
