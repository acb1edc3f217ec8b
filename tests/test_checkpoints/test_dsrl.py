"""Conversion of DSRL's checkpoints beyond what the reference cases hold."""

import pytest
import torch

from mmseg_papers.checkpoints import convert_state_dict
from mmseg_papers.models.backbones import ESPNetv2

from ..reference import Case


def test_the_pooled_branch_moves_to_the_front():
    weight = torch.arange(10.0).reshape(1, 10, 1, 1)
    theirs = {"backbone.conv1.weight": torch.rand(1), "aspp.conv1.weight": weight}
    ours = convert_state_dict("dsrl", theirs)["neck.aspp.bottleneck.conv.weight"]
    assert ours.flatten().tolist() == [8, 9, 0, 1, 2, 3, 4, 5, 6, 7]


def part_of(prefix):
    """Of the authors' whole DeepLabV3+, with random weights."""
    shapes = Case.load("dsrl", "dsrl_deeplabv3plus_r101_main").spec["keys"]
    return {key: torch.rand(shape) for key, shape in shapes.items() if key.startswith(prefix)}


@pytest.mark.parametrize("prefix", ["aspp.", "decoder.", "sr_decoder."])
def test_parts_with_and_without_their_names(prefix):
    part = part_of(prefix)
    named = convert_state_dict("dsrl", part)
    alone = convert_state_dict("dsrl", {k.removeprefix(prefix): v for k, v in part.items()})
    place = {"aspp.": "neck.aspp.", "decoder.": "decode_head.", "sr_decoder.": "sisr_head."}[prefix]
    assert {f"{place}{key}" for key in alone} == named.keys()
    assert all(torch.equal(value, named[f"{place}{key}"]) for key, value in alone.items())


def test_a_block_of_the_deconvolving_branch():
    block = {"conv.0.weight": 1, "conv.2.bias": 2, "residual_upsampler.0.weight": 3}
    ours = convert_state_dict("dsrl", {key: torch.tensor(value) for key, value in block.items()})
    assert ours == {"convs.0.weight": 1, "convs.2.bias": 2, "shortcut.weight": 3}


def test_unknown_keys_are_named_or_left_out():
    theirs = {"base_net.level1.conv.weight": torch.rand(1), "sr_branch.0.weight": torch.rand(1)}
    with pytest.raises(KeyError, match=r"1 keys .*sr_branch\.0\.weight"):
        convert_state_dict("dsrl", theirs)
    ours = convert_state_dict("dsrl", theirs, drop_unknown=True)
    assert list(ours) == ["backbone.stem.conv.weight"]


def test_weights_of_no_known_model():
    with pytest.raises(KeyError, match=r"1 keys .*decoder\.weight"):
        convert_state_dict("dsrl", {"decoder.weight": torch.rand(1)})


def test_edgenets_imagenet_weights_become_a_backbone():
    of_segmentor = Case.load("dsrl", "espnetv2_dsrl_s0.5").spec["keys"]
    theirs = {
        key.removeprefix("base_net."): torch.zeros(shape)
        for key, shape in of_segmentor.items()
        if key.startswith("base_net.")
    }
    theirs |= {
        "level5_0.eesp.proj_1x1.conv.weight": torch.rand(1),
        "classifier.bias": torch.rand(9),
    }
    ours = convert_state_dict("dsrl", theirs)
    assert all(key.startswith("backbone.") for key in ours)
    weights = {key.removeprefix("backbone."): value for key, value in ours.items()}
    ESPNetv2(0.5).load_state_dict(weights, strict=True)
