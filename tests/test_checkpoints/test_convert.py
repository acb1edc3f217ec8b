"""Conversion of the authors' checkpoints: nothing guessed, nothing lost."""

import pytest
import torch

from mmseg_papers.checkpoints import convert_state_dict

BIASED_HEAD = {
    "last_layer.0.weight": torch.rand(4, 4, 1, 1),
    "last_layer.0.bias": torch.rand(4),
    "last_layer.1.running_mean": torch.rand(4),
    "last_layer.1.weight": torch.tensor([0.5, -0.5, 0.1, -0.1]),
}


def test_unknown_paper():
    with pytest.raises(ValueError, match=r"paper must be one of .*hrnet.*got 'resnet'"):
        convert_state_dict("resnet", {})


def test_unknown_keys_are_named():
    with pytest.raises(KeyError, match=r"1 keys .*head\.weight"):
        convert_state_dict("hrnet", {"head.weight": torch.zeros(1)})


@pytest.mark.parametrize("prefix", ["", "model.", "module.model."])
def test_hrnet_wrappers_and_what_is_dropped(prefix):
    weights = {f"{prefix}conv1.weight": torch.rand(2), "loss.criterion.weight": torch.rand(19)}
    weights |= {f"{prefix}incre_modules.0.0.conv1.weight": torch.rand(1)}
    assert list(convert_state_dict("hrnet", weights)) == ["backbone.conv1.weight"]


def test_hrnet_bias_moves_into_the_norm():
    ours = convert_state_dict("hrnet", BIASED_HEAD)
    assert "decode_head.convs.0.conv.bias" not in ours
    torch.testing.assert_close(
        ours["decode_head.convs.0.bn.running_mean"],
        BIASED_HEAD["last_layer.1.running_mean"] - BIASED_HEAD["last_layer.0.bias"],
    )


def test_hrnet_inplace_abn_scales_by_the_absolute_weight():
    ours = convert_state_dict("hrnet", BIASED_HEAD, inplace_abn=True)
    torch.testing.assert_close(
        ours["decode_head.convs.0.bn.weight"], BIASED_HEAD["last_layer.1.weight"].abs() + 1e-5
    )


def test_refuses_a_file_instead_of_its_weights():
    with pytest.raises(TypeError, match=r"state_dict is a dict.*file\['state_dict'\]"):
        convert_state_dict("hrnet", {"state_dict": {"conv1.weight": torch.rand(1)}})
