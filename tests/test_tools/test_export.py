"""Exported files equal PyTorch at every size, and label maps from them those of `mim test`."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmseg.registry import MODELS

from mmseg_papers.apis import Predictor

from ..families import build, config_of, every_family

TOOLS = Path(__file__).parents[2] / "tools"
pytestmark = pytest.mark.torch_2_7
#: Families whose graph holds for one size only, and why.
FIXED_SIZE = {
    "hrnetv2p": "mmseg's FPNHead enlarges by int(size * 2.0), which is recorded as a number",
    "cpnet": "a channel of the prior stands for an absolute position",
    "refinenet-2scale": "the kernel of MATLAB's bicubic resizing is made of the two sizes",
}


def load(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load(TOOLS / "export.py")
OnnxModel = load(TOOLS / "deployment" / "onnx_labels.py").OnnxModel


@every_family
def test_equals_pytorch(family, tmp_path):
    model = build(config_of(family))
    graph = tool.ExportedModel(model, "logits")
    is_dynamic = family not in FIXED_SIZE
    size = (128, 160) if is_dynamic else tuple(config_of(family).crop_size)
    program = tool.record(graph, 3, size, is_dynamic)
    shapes = tool.shapes_to_check(size, 3, is_dynamic)
    for suffix in (".onnx", ".pt2"):
        file = tmp_path / f"model{suffix}"
        tool.write(program, {}, file)
        difference = tool.largest_difference(graph, tool.runner(file), shapes)
        print(f"{family} {suffix}: {difference:.1e}")  # docs/export.md has these
        assert difference < 1e-4
    assert {node.domain for node in onnx.load(tmp_path / "model.onnx").graph.node} == {""}
    assert not [node for node in program.graph.nodes if "mmseg_papers" in str(node.target)]


# One tiny model for what does not depend on the family


@MODELS.register_module()
class BandsBackbone(BaseModule):
    """A map of stride 4 of any number of channels."""

    def __init__(self, in_channels=3):
        super().__init__()
        self.conv = torch.nn.Conv2d(in_channels, 8, 5, stride=4, padding=2)

    def forward(self, x):
        return (self.conv(x),)


def tiny(bands=3, scale=None, test_cfg=None, pad=None, num_classes=5, **model):
    """A config of a model with one convolution before its head."""
    preprocessor = dict(type="SegDataPreProcessor", test_cfg=pad)
    if bands == 3:
        preprocessor.update(mean=[120.0, 110.0, 100.0], std=[60.0] * 3, bgr_to_rgb=True)
    else:
        preprocessor.update(type="MultiBandPreProcessor", mean=[120.0] * bands, std=[60.0] * bands)
    head = dict(
        type="FCNHead",
        in_channels=8,
        in_index=0,
        channels=8,
        num_convs=1,
        concat_input=False,
        num_classes=num_classes,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=num_classes == 2),
        **(dict(out_channels=1, threshold=0.4) if num_classes == 2 else {}),
    )
    load = dict(type="LoadImageFromFile")
    if bands != 3:
        load.update(color_type="unchanged")
    resize = [] if scale is None else [dict(type="Resize", scale=scale, keep_ratio=True)]
    classes = [f"class {i}" for i in range(num_classes)]
    return Config(
        dict(
            crop_size=(48, 64),
            model={
                "type": "FusedEncoderDecoder",
                "backbone": dict(type="BandsBackbone", in_channels=bands),
                "decode_head": head,
                "data_preprocessor": preprocessor,
                "test_cfg": test_cfg or dict(mode="whole"),
                **model,
            },
            test_dataloader=dict(
                dataset=dict(
                    type="FolderDataset",
                    classes=classes,
                    palette=[[i, 2 * i, 3 * i] for i in range(num_classes)],
                    pipeline=[load, *resize, dict(type="PackSegInputs")],
                )
            ),
        )
    )


def saved(config, folder):
    """A checkpoint of random weights that predict many classes."""
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.save(dict(state_dict=model.state_dict()), folder / "weights.pth")
    return str(folder / "weights.pth")


SLIDE = dict(mode="slide", crop_size=(32, 48), stride=(20, 30))


@pytest.mark.parametrize(
    "options",
    [
        dict(scale=(96, 60)),
        dict(pad=dict(size=(80, 101))),
        dict(pad=dict(size_divisor=32), scale=(70, 70)),
        dict(test_cfg=SLIDE, scale=(96, 60)),
        dict(test_cfg=SLIDE, type="FlipSlideEncoderDecoder"),
        dict(test_cfg=dict(SLIDE, crop_size=(80, 90)), type="FlipSlideEncoderDecoder"),
        dict(num_classes=2, scale=(96, 60)),
        dict(bands=1),
        dict(bands=4),
        dict(bands=12),
    ],
    ids=str,
)
def test_labels_are_those_of_the_model(options, tmp_path):
    config = tiny(**options)
    checkpoint = saved(config, tmp_path)
    tool.export(config, checkpoint, tmp_path / "model.onnx")
    bands = options.get("bands", 3)
    image = np.random.default_rng(0).integers(0, 256, (57, 75, bands), dtype=np.uint8)
    expected = Predictor(config, checkpoint)(image).labels
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(OnnxModel(tmp_path / "model.onnx").labels(image), expected)


@pytest.mark.parametrize("scale", [40, (64, 48)])
def test_resize_without_keep_ratio(scale, tmp_path):
    config = tiny(scale=scale)
    del config.test_dataloader.dataset.pipeline[1]["keep_ratio"]
    checkpoint = saved(config, tmp_path)
    tool.export(config, checkpoint, tmp_path / "model.onnx")
    image = np.random.default_rng(0).integers(0, 256, (57, 75, 3), dtype=np.uint8)
    expected = Predictor(config, checkpoint)(image).labels
    np.testing.assert_array_equal(OnnxModel(tmp_path / "model.onnx").labels(image), expected)


def test_transforms_by_scope():
    config = tiny(scale=40)
    model = MODELS.build(config.model)
    model.dataset_meta = dict(classes=config.test_dataloader.dataset.classes)
    expected = tool.metadata(model, config)
    for step in config.test_dataloader.dataset.pipeline:
        step["type"] = f"mmseg.{step['type']}"
    assert tool.metadata(model, config) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(scale_factor=0.5), r"scale_factor.*give it scale=\(WIDTH, HEIGHT\)"),
        (dict(scale=40, interpolation="nearest"), "interpolation='nearest'.*only 'bilinear'"),
        (dict(scale=40, backend="pillow"), "backend='pillow'.*only 'cv2'"),
    ],
)
def test_resize_that_cannot_be_described_is_refused(options, message):
    config = tiny(scale=40)
    config.test_dataloader.dataset.pipeline[1] = dict(type="Resize", **options)
    with pytest.raises(ValueError, match=message):
        tool.metadata(MODELS.build(config.model), config)


def test_command_line(tmp_path, capsys):
    config = tiny(test_cfg=SLIDE)
    config.dump(tmp_path / "config.py")
    arguments = [str(tmp_path / "config.py"), saved(config, tmp_path)]
    for name in ("model.onnx", "model.pt2"):
        assert tool.main([*arguments, str(tmp_path / name)]) == 0
        assert f"wrote {tmp_path / name}" in capsys.readouterr().out
    file = onnx.load(tmp_path / "model.onnx")
    meta = {entry.key: json.loads(entry.value) for entry in file.metadata_props}
    assert meta["classes"] == [f"class {i}" for i in range(5)]
    assert meta["palette"][2] == [2, 4, 6]
    assert (meta["mean"], meta["std"]) == ([120.0, 110.0, 100.0], [60.0] * 3)
    assert (meta["channel_order"], meta["stride"]) == ("RGB", [4, 4])
    assert meta["window"] == {"crop_size": [32, 48], "stride": [20, 30]}
    extra = dict.fromkeys(meta, "")
    torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    assert {key: json.loads(text) for key, text in extra.items()} == meta


def test_labels_inside_the_file(tmp_path):
    config = tiny()
    checkpoint = saved(config, tmp_path)
    tool.export(config, checkpoint, tmp_path / "model.onnx", output="labels")
    labels = tool.runner(tmp_path / "model.onnx")(torch.randn(2, 3, 37, 53))
    assert labels.shape == (2, 37, 53) and labels.dtype == torch.int64
    with pytest.raises(ValueError, match="--output logits"):
        OnnxModel(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("model.pb", [], "model.pb must end in .onnx or .pt2"),
        (
            "model.pt2",
            ["--cfg-options", "model.backbone.in_channels=4"],
            "backbone.conv.weight: [8, 3, 5, 5] instead of [8, 4, 5, 5]",
        ),
    ],
)
def test_user_mistakes(name, arguments, message, tmp_path, capsys):
    config = tiny()
    config.dump(tmp_path / "config.py")
    command = [str(tmp_path / "config.py"), saved(config, tmp_path), str(tmp_path / name)]
    assert tool.main([*command, *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_a_wrong_file_is_not_written(tmp_path, monkeypatch):
    config = tiny()
    monkeypatch.setattr(tool, "runner", lambda file: lambda x: torch.zeros(len(x), 5, *x.shape[2:]))
    with pytest.raises(ValueError, match="the file differs from PyTorch by"):
        tool.export(config, saved(config, tmp_path), tmp_path / "model.pt2")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["weights.pth"]


@pytest.mark.parametrize("test_cfg", [dict(SLIDE), dict(mode="whole")], ids=str)
def test_positions_are_those_of_whole_images(test_cfg):
    pad = None if test_cfg["mode"] == "slide" else dict(size_divisor=32)
    config = config_of(
        "hanet", **{"model.test_cfg": test_cfg, "model.data_preprocessor.test_cfg": pad}
    )
    with pytest.raises(ValueError, match="height attention with positions must see whole images"):
        tool.metadata(build(config), config)


class OneSize(torch.nn.Module):
    """Scores that fit images of 128 x 160 only."""

    def forward(self, image):
        return image.view(-1, 3, 128, 160)


def test_a_size_that_the_model_refuses_is_named():
    graph = tool.ExportedModel(build(config_of("hrnetv2")), "logits")
    graph.forward = OneSize().forward
    with pytest.raises(ValueError, match=r"does not run at 97x121; give the one .* --size"):
        tool.largest_difference(graph, graph, [(1, 3, 97, 121)])


def test_a_size_that_cannot_be_free_is_named():
    graph = tool.ExportedModel(build(config_of("hrnetv2")), "logits")
    graph.forward = OneSize().forward
    with pytest.raises(ValueError, match="cannot be exported for every size; give one with --size"):
        tool.record(graph, 3, (128, 160), is_dynamic=True)
