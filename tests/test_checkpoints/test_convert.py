"""Conversion of the authors' checkpoints: nothing guessed, nothing lost."""

import pytest
import torch

from mmseg_papers.checkpoints import convert_state_dict

from ..data.reference import fill
from ..reference import Case

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


def test_keys_with_and_without_the_prefix_do_not_become_one():
    weights = {f"{prefix}conv1.weight": torch.rand(1) for prefix in ("module.", "")}
    with pytest.raises(ValueError, match=r"1 keys .* without 'module\.': conv1\.weight; keep one"):
        convert_state_dict("hrnet", weights)


@pytest.mark.parametrize(
    ("paper", "name"),
    [
        ("cpnet", "cphead_6x9"),
        ("deeplab", "jfz_deeplab_resnet101_os16"),
        ("denseaspp", "denseaspp121"),
        ("dsrl", "espnetv2_dsrl_s0.5"),
        ("hanet", "layer_sin_pos2"),
        ("hrnet", "seg_hrnet_w18_small_v1"),
        ("refinenet", "lw_refinenet50_96x160"),
        ("spnet", "mpm_c32"),
    ],
)
def test_files_of_a_distributed_training(paper, name):
    shapes = Case.load(paper, name).spec["keys"]
    plain = {key: torch.zeros(shape) for key, shape in shapes.items()}
    wrapped = {f"module.{key}": value for key, value in plain.items()}
    assert list(convert_state_dict(paper, wrapped)) == list(convert_state_dict(paper, plain))


@pytest.mark.parametrize("prefix", ["", "model.", "module.model.", "backbone."])
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


def test_refuses_what_is_no_tensor():
    with pytest.raises(TypeError, match=r"epoch is a int.*file\['state_dict'\]"):
        convert_state_dict("hrnet", {"conv1.weight": torch.rand(1), "epoch": 3})


@pytest.mark.parametrize("entry", ["state_dict", "model_state", "model", "segmenter", "weights"])
def test_a_whole_file_will_do(entry):
    file = {entry: {"conv1.weight": torch.rand(1)}, "epoch": 3}
    assert list(convert_state_dict("hrnet", file)) == ["backbone.conv1.weight"]


def filled(name):
    """The authors' keys and values of a reference case."""
    return fill.fill_state_dict(Case.load("hrnet", name).spec["keys"])


@pytest.mark.parametrize("prefix", ["model.", "module.model."])
@pytest.mark.parametrize(
    "name", ["seg_hrnet_w18_small_v1", "seg_hrnet_ocr_w18_m121_b2", "variant_v1", "hrfpn_avg"]
)
def test_hrnet_files_of_a_training_load_strictly(name, prefix):
    plain = filled(name)
    weights = {f"{prefix}{key}": value for key, value in plain.items()}
    weights["loss.criterion.weight"] = torch.ones(19)
    ours, expected = convert_state_dict("hrnet", weights), convert_state_dict("hrnet", plain)
    assert list(ours) == list(expected)
    assert all(torch.equal(ours[key], expected[key]) for key in ours)


def test_hrnet_detectors_lose_their_heads():
    weights = {f"neck.{key}": value for key, value in filled("hrfpn_share_conv").items()}
    weights |= {"backbone.conv1.weight": torch.rand(1), "bbox_head.fc_cls.weight": torch.rand(1)}
    assert sorted(convert_state_dict("hrnet", weights)) == [
        "backbone.conv1.weight",
        "neck.fpn_convs.0.conv.bias",
        "neck.fpn_convs.0.conv.weight",
        "neck.reduction_conv.conv.bias",
        "neck.reduction_conv.conv.weight",
    ]


OPENSEG_BASELINE = {
    "cls_head.0.weight": torch.rand(4, 4, 3, 3),
    "cls_head.1.weight": torch.rand(4),
    "cls_head.1.running_mean": torch.rand(4),
    "cls_head.3.weight": torch.rand(2, 4, 1, 1),
}


@pytest.mark.parametrize(
    ("weights", "norm", "ours"),
    [
        (
            filled("ocr_module_spatial_ocr_openseg_inplace_abn"),
            "object_context_block.f_pixel.1",
            "query_project.0.bn",
        ),
        (OPENSEG_BASELINE, "cls_head.1", "decode_head.convs.0.bn"),
    ],
    ids=["ocr", "baseline"],
)
def test_openseg_keys_tell_inplace_abn(weights, norm, ours):
    """Its parameters sit where a BN followed by an activation has none."""
    weights[f"{norm}.weight"][:] = -1
    told, refused = (convert_state_dict("hrnet", weights, inplace_abn=x) for x in (None, False))
    assert told[f"{ours}.weight"].min() == pytest.approx(1 + 1e-5)
    assert refused[f"{ours}.weight"].max() == -1


def test_openseg_baseline_without_a_bias_of_the_classifier():
    ours = convert_state_dict(
        "hrnet",
        {
            "cls_head.0.weight": torch.rand(4, 4, 3, 3),
            "cls_head.1.0.weight": torch.rand(4),
            "cls_head.3.weight": torch.rand(2, 4, 1, 1),
        },
    )
    assert (ours["decode_head.conv_seg.bias"] == torch.zeros(2)).all()
    assert "decode_head.convs.0.bn.weight" in ours
