"""Conversion of CPNet's files, whose names are ours."""

import pytest
import torch

from mmseg_papers.checkpoints import convert_state_dict

WEIGHTS = {
    "backbone.layer1.0.conv1.weight": torch.rand(2),
    "decode_head.prior_conv.conv.weight": torch.rand(24, 4, 1, 1),
    "decode_head.prior_conv.bn.num_batches_tracked": torch.tensor(3),
    "auxiliary_head.conv_seg.bias": torch.rand(5),
}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_names_stay(prefix):
    found = convert_state_dict("cpnet", {prefix + key: value for key, value in WEIGHTS.items()})
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[key], value) for key, value in WEIGHTS.items())


def test_unknown_keys_are_named():
    with pytest.raises(KeyError, match=r"1 keys .*prior_head\.weight"):
        convert_state_dict("cpnet", {"prior_head.weight": torch.zeros(1)})


def test_the_prior_must_fit():
    assert convert_state_dict("cpnet", WEIGHTS, prior_size=(4, 6))
    with pytest.raises(ValueError, match=r"prior of 24 positions, but prior_size=\(5, 6\) has 30"):
        convert_state_dict("cpnet", WEIGHTS, prior_size=(5, 6))
