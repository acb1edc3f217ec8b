"""Conversion of the authors' DenseASPP files."""

import pytest
import torch

from mmseg_papers.checkpoints import convert_state_dict
from tests.data.reference import fill
from tests.reference import Case


def convert(state_dict):
    return convert_state_dict("denseaspp", state_dict)


@pytest.mark.parametrize("name", ["denseaspp121", "denseaspp161", "mobilenet_denseaspp"])
def test_files_of_a_parallel_training(name):
    """The published 161 was saved from ``DataParallel``."""
    plain = fill.fill_state_dict(Case.load("denseaspp", name).spec["keys"])
    ours = convert({f"module.{key}": value for key, value in plain.items()})
    expected = convert(plain)
    assert list(ours) == list(expected)
    assert all(torch.equal(ours[key], expected[key]) for key in ours)


def test_names():
    theirs = [
        "features.conv0.weight",
        "features.denseblock2.denselayer11.norm.2.running_var",
        "features.denseblock2.denselayer11.conv1.weight",
        "features.transition4.conv.weight",
        "features.norm5.bias",
        "ASPP_3.conv.1.bias",
        "ASPP_24.norm.1.weight",
        "ASPP_6.conv2.weight",
        "classification.1.weight",
        "features.features.0.0.weight",
        "features.features.1.conv.1.weight",
        "features.features.12.conv.3.weight",
        "features.features.17.conv.7.running_mean",
        "features.0.1.weight",
        "features.17.conv.6.weight",
    ]
    ours = [
        "backbone.conv0.weight",
        "backbone.denseblock2.denselayer11.norm2.running_var",
        "backbone.denseblock2.denselayer11.conv1.weight",
        "backbone.transition4.conv.weight",
        "backbone.norm5.bias",
        "decode_head.aspp.0.conv1.bias",
        "decode_head.aspp.4.norm1.weight",
        "decode_head.aspp.1.conv2.weight",
        "decode_head.conv_seg.weight",
        "backbone.conv1.conv.weight",
        "backbone.layer1.0.conv.0.bn.weight",
        "backbone.layer5.1.conv.1.conv.weight",
        "backbone.layer7.0.conv.2.bn.running_mean",
        "backbone.conv1.bn.weight",
        "backbone.layer7.0.conv.2.conv.weight",
    ]
    assert list(convert({key: torch.rand(1) for key in theirs})) == ours


@pytest.mark.parametrize(
    "key", ["ASPP_30.conv.1.weight", "head.weight", "features.features.18.0.w"]
)
def test_unknown_keys_are_named(key):
    with pytest.raises(KeyError, match=rf"1 keys .*: {key}"):
        convert({key: torch.rand(1), "classifier.weight": torch.rand(1)})
