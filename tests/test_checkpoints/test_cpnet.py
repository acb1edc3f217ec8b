"""Conversion of CPNet's files, whose names are ours."""

import pytest
import torch
import torch.nn.functional as F

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


def test_the_prior_is_resized_to_another_crop():
    of_rows = torch.tensor([0.0, 6, 12, 18]).repeat_interleave(6)
    weights = {**WEIGHTS, "decode_head.prior_conv.bn.running_var": of_rows}
    found = convert_state_dict("cpnet", weights, prior_size=(8, 3), resize_from=(4, 6))
    conv = found["decode_head.prior_conv.conv.weight"]
    assert conv.shape == (24, 4, 1, 1)
    grid = weights["decode_head.prior_conv.conv.weight"].view(4, 6, 4).permute(2, 0, 1)
    expected = F.interpolate(grid[None], (8, 3), mode="bilinear")[0]
    torch.testing.assert_close(conv.view(8, 3, 4).permute(2, 0, 1), expected)
    var = found["decode_head.prior_conv.bn.running_var"].view(8, 3)
    assert (var.amax(1) == var.amin(1)).all()  # the columns of the old one were alike
    assert var[:, 0].tolist() == [0, 1.5, 4.5, 7.5, 10.5, 13.5, 16.5, 18]
    same = convert_state_dict("cpnet", weights, prior_size=(4, 6), resize_from=(4, 6))
    assert all(torch.equal(same[key], value) for key, value in weights.items())


def test_resizing_names_both_sizes():
    with pytest.raises(ValueError, match=r"resize_from=60 needs prior_size"):
        convert_state_dict("cpnet", WEIGHTS, resize_from=60)
    with pytest.raises(ValueError, match=r"of 24 positions, but resize_from=\(5, 6\) has 30"):
        convert_state_dict("cpnet", WEIGHTS, prior_size=(8, 6), resize_from=(5, 6))
    with pytest.raises(ValueError, match=r"prior_size must be .* positive ints, got \[8, 0\]"):
        convert_state_dict("cpnet", WEIGHTS, prior_size=[8, 0], resize_from=(4, 6))
    grouped = {**WEIGHTS, "decode_head.aggregation.norm.weight": torch.ones(8)}
    with pytest.raises(ValueError, match="several groups, which read 4 channels each of 8"):
        convert_state_dict("cpnet", grouped, prior_size=(8, 6), resize_from=(4, 6))
