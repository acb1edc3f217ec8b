"""Files of DeepLab's authors and of ports: every variable named, none lost or left over."""

import json
import re

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS

from mmseg_papers.checkpoints import convert_state_dict, read_tensorflow_checkpoint
from mmseg_papers.models.backbones import AlignedXception, AtrousResNet

from ..reference import FOLDER

VARIABLES = json.loads(
    (FOLDER / "deeplab" / "tf_variables_deeplabv3plus_xception65.json").read_text()
)["tf_variables"]


def arrays(variables):
    """Zeros in almost no memory."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in variables.items()}


def test_every_variable_of_the_published_graph():
    model = dict(
        type="AtrousEncoderDecoder",
        backbone=dict(type="AlignedXception", depth=65),
        decode_head=dict(type="DeepLabV3PlusHead", in_index=3, num_classes=21),
        test_cfg=dict(mode="whole"),
    )
    model["decode_head"]["norm_cfg"] = dict(type="BN")
    with torch.device("meta"):
        expected = MODELS.build(model).state_dict()
    extra = {"global_step": np.int64(30000)}
    extra |= {f"beta{i}_power": np.float32(0.5) for i in (1, 2)}
    extra |= {f"{list(VARIABLES)[3]}/{slot}": np.zeros(1) for slot in ("Adam", "Adam_1")}
    extra |= {f"{name}/Momentum": np.zeros(1) for name in list(VARIABLES)[:3]}
    extra |= {"xception_65/logits/weights": np.zeros((1, 1, 2048, 1001), np.float32)}
    converted = convert_state_dict("deeplab", arrays(VARIABLES) | extra)
    shapes = {k: v.shape for k, v in expected.items() if not k.endswith("num_batches_tracked")}
    assert {key: value.shape for key, value in converted.items()} == shapes


def test_imagenet_weights_are_the_backbones():
    variables = {k: v for k, v in VARIABLES.items() if k.startswith("xception_65/")}
    converted = convert_state_dict("deeplab", arrays(variables))
    with torch.device("meta"):
        expected = set(AlignedXception(65).state_dict())
    assert set(converted) == {k for k in expected if not k.endswith("num_batches_tracked")}


def test_resnet_with_a_plain_stem():
    net = AtrousResNet(50, style="tensorflow")
    variables = {"resnet_v1_50/conv1/weights": np.zeros((7, 7, 3, 64), np.float32)}
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        variables[f"resnet_v1_50/conv1/BatchNorm/{name}"] = np.zeros(64, np.float32)
    converted = convert_state_dict("deeplab", variables)
    stem = {k: v.shape for k, v in net.state_dict().items() if k.startswith(("conv1.", "bn1."))}
    del stem["bn1.num_batches_tracked"]
    assert {key.removeprefix("backbone."): v.shape for key, v in converted.items()} == stem


def test_layout_of_a_read_file():
    tensors = read_tensorflow_checkpoint(FOLDER / "deeplab" / "tf_tiny.ckpt")
    converted = convert_state_dict("deeplab", tensors)
    stem = tensors["xception_65/entry_flow/conv1_1/weights"]
    got = converted["backbone.stem.0.conv.weight"]
    assert got.shape == (8, 3, 3, 3)
    assert got[5, 1, 2, 0] == stem[2, 0, 1, 5]
    depthwise = tensors["decoder/decoder_conv0_depthwise/depthwise_weights"]
    got = converted["decode_head.decoder.convs.0.depthwise_conv.conv.weight"]
    assert got.shape == (19, 1, 3, 3)
    assert got[7, 0, 2, 1] == depthwise[2, 1, 7, 0]


def test_first_class_of_the_ade20k_file():
    weights = {
        "logits/semantic/weights": np.arange(8, dtype=np.float32).reshape(1, 1, 2, 4),
        "logits/semantic/biases": np.arange(4, dtype=np.float32),
    }
    ours = convert_state_dict("deeplab", weights, drop_background=True)
    assert ours["decode_head.conv_seg.bias"].tolist() == [1, 2, 3]
    assert ours["decode_head.conv_seg.weight"][:, 0, 0, 0].tolist() == [1, 2, 3]


def test_timm_names():
    with torch.device("meta"):
        expected = AlignedXception(41).state_dict()
    theirs = {}
    for key, value in expected.items():
        key = re.sub(r"convs\.(\d)\.", lambda m: f"stack.conv{int(m[1]) + 1}.", key)
        key = re.sub(r"(depthwise|pointwise)_conv\.(conv|bn)", lambda m: f"{m[2]}_{m[1][0]}w", key)
        theirs[key] = value
    assert "blocks.3.stack.conv2.bn_pw.weight" in theirs
    theirs["head.fc.weight"] = torch.empty(1000, 2048, device="meta")
    converted = convert_state_dict("deeplab", theirs)
    assert {k: v.shape for k, v in converted.items()} == {k: v.shape for k, v in expected.items()}


def test_vainf_deeplabv3():
    """Its DeepLabV3 has torchvision's 3x3 conv before the classifier, and the image level last."""
    pyramid = "classifier.classifier.0"
    weights = {"backbone.conv1.weight": torch.rand(1)}
    for i, (conv, norm) in enumerate([(0, 1)] * 4 + [(1, 2)]):
        weights[f"{pyramid}.convs.{i}.{conv}.weight"] = torch.full((2, 1), i)
        weights[f"{pyramid}.convs.{i}.{norm}.weight"] = torch.full((2,), i)
    weights[f"{pyramid}.project.0.weight"] = torch.arange(5).repeat_interleave(2)[None]
    weights[f"{pyramid}.project.1.weight"] = torch.rand(2)
    weights |= {f"classifier.classifier.{i}.weight": torch.rand(1) for i in (1, 2, 4)}
    ours = convert_state_dict("deeplab", weights)
    head = "decode_head."
    assert ours[f"{head}aspp.bottleneck.conv.weight"].tolist() == [[4, 4, 0, 0, 1, 1, 2, 2, 3, 3]]
    assert ours[f"{head}aspp.image_pool.1.bn.weight"].tolist() == [4, 4]
    assert {f"{head}convs.0.conv.weight", f"{head}convs.0.bn.weight"} <= set(ours)
    assert f"{head}conv_seg.weight" in ours


@pytest.mark.parametrize(
    "key", ["mobilenet/odd", "xception_65/middle_flow/block1/unit_1/odd", "layer1.weight"]
)
def test_unknown_keys_are_named(key):
    with pytest.raises(KeyError, match=key):
        convert_state_dict("deeplab", {key: torch.zeros(1, 1, 1, 1)})
