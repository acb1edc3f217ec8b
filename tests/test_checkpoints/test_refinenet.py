"""Conversion of RefineNet's files: the unseen is asked for, the contradictory refused."""

from functools import cache

import pytest
import torch

from mmseg_papers.checkpoints import convert_state_dict
from mmseg_papers.checkpoints.refinenet import MAT_FILES
from mmseg_papers.models.backbones import AtrousResNet
from mmseg_papers.models.decode_heads import RefineNetHead
from tests.data.reference import fill
from tests.reference import Case

HEAD = {
    "p_ims1d2_outl1_dimred.weight": torch.rand(4, 8, 3, 3),
    "mflow_conv_g1_pool.0.1_outvar_dimred.weight": torch.rand(4, 4, 3, 3),
    "clf_conv.weight": torch.rand(5, 4, 3, 3),
    "clf_conv.bias": torch.arange(5.0),
}


def convert(state_dict, **options):
    return convert_state_dict("refinenet", state_dict, **options)


@pytest.mark.parametrize("wrapping", ["model", "segmenter", "weights", "state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappings(wrapping, prefix):
    weights = {f"{prefix}{key}": value for key, value in HEAD.items()}
    file = weights if wrapping is None else {wrapping: weights, "epoch": 3}
    assert set(convert(file)) == {
        "blocks.0.pooling.pool_convs.0.weight",
        "conv_seg.bias",
        "conv_seg.weight",
        "paths.0.reduction.weight",
    }


@pytest.mark.parametrize(
    ("void", "rows"), [(None, [0, 1, 2, 3, 4]), ("first", [1, 2, 3, 4]), ("last", [0, 1, 2, 3])]
)
def test_void_row(void, rows):
    ours = convert(HEAD, void=void)
    assert ours["conv_seg.bias"].tolist() == rows
    assert torch.equal(ours["conv_seg.weight"], HEAD["clf_conv.weight"][rows])


def test_order_of_pooling_as_asked_or_named():
    assert "blocks.0.pooling.conv_pools.0.weight" in convert(HEAD, pool_first=False)
    improved = {"mflow_conv_g1_poolprev_relu_varout_pb1.weight": torch.rand(4, 4, 3, 3)}
    assert list(convert(improved)) == ["blocks.0.pooling.conv_pools.0.weight"]
    with pytest.raises(ValueError, match=r"pool_first=True, but the names \(\*_pb1\)"):
        convert(improved, pool_first=True)


def test_imagenet_classifier_is_dropped_and_unknown_keys_are_named():
    assert list(convert({"layer1.0.conv1.weight": torch.rand(1), "fc.weight": torch.rand(1)})) == [
        "backbone.layer1.0.conv1.weight"
    ]
    with pytest.raises(KeyError, match=r"1 keys .*: aux_head\.weight"):
        convert({"aux_head.weight": torch.rand(1)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(void="middle"), "void must be None, 'first' or 'last', got 'middle'"),
        (dict(mat_file="voc"), "mat_file='voc' is for MATLAB files"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        convert(HEAD, **options)


def matlab(state_dict, rows, pool_first):
    """Weights under PyTorch names -> the dump of a MATLAB file."""
    arrays = {}
    norms = {key.rpartition(".")[0] for key in state_dict if key.endswith("running_mean")}
    for key, value in state_dict.items():
        name, _, kind = key.rpartition(".")
        is_norm = name in norms
        name = resnet_name(name)
        if kind == "running_mean":
            var = state_dict[key.replace("mean", "var")]
            arrays[f"{name}_moments"] = torch.stack([value, (var + 1e-5).sqrt()], dim=1)
        elif kind == "weight" and not is_norm:
            arrays[f"{name}_filter"] = value.permute(2, 3, 1, 0)
        elif kind in ("weight", "bias"):
            arrays[f"{name}_{'mult' if kind == 'weight' else 'bias'}"] = value[:, None]
    arrays["clf_conv_filter"] = torch.randn(3, 3, 8, rows)
    arrays["clf_conv_bias"] = torch.arange(float(rows))[:, None]
    if not pool_first:
        arrays["mflow_conv_g1_poolprev_relu_varout_pb1_filter"] = torch.rand(3, 3, 8, 8)
    return arrays


def resnet_name(name):
    if name in ("conv1", "bn1"):
        return {"bn1": "bn_conv1"}.get(name, name)
    if not name.startswith("layer"):
        return name
    stage, unit, layer, *rest = name.split(".")
    letter = chr(ord("a") + int(unit)) if int(unit) < 2 else f"b{unit}"
    branch = "1" if layer == "downsample" else f"2{'abc'[int(layer[-1]) - 1]}"
    kind = "bn" if layer.startswith("bn") or rest == ["1"] else "res"
    return f"{kind}{int(stage[-1]) + 1}{letter}_branch{branch}"


@cache
def resnet_weights():
    net = AtrousResNet(depth=50, output_stride=32)
    return fill.fill_state_dict({key: list(v.shape) for key, v in net.state_dict().items()})


@pytest.mark.parametrize("mat_file", sorted(MAT_FILES))
def test_matlab_files(mat_file):
    rows, void, pool_first = MAT_FILES[mat_file]
    weights = {key: torch.as_tensor(value) for key, value in resnet_weights().items()}
    ours = convert(matlab(weights, rows, pool_first), mat_file=mat_file)
    for key, value in weights.items():
        torch.testing.assert_close(ours[f"backbone.{key}"], value, rtol=1e-5, atol=1e-6)
    first = {None: 0, "first": 1, "last": 0}[void]
    classes = rows - (void is not None)
    assert ours["decode_head.conv_seg.bias"].tolist() == list(range(first, first + classes))
    AtrousResNet(depth=50, output_stride=32).load_state_dict(
        {key[9:]: v for key, v in ours.items() if key.startswith("backbone.")}, strict=True
    )


def test_matlab_decoder_loads_and_computes_the_same():
    case = Case.load("refinenet", "decoder_4cascaded_improved")
    weights = {k: torch.as_tensor(v) for k, v in fill.fill_state_dict(case.spec["keys"]).items()}
    arrays = {}
    for key, value in weights.items():
        name, _, kind = key.rpartition(".")
        is_filter = kind == "weight"
        value = value.permute(2, 3, 1, 0) if is_filter else value[:, None]
        arrays[f"{name}_{'filter' if is_filter else 'bias'}"] = value
    seven = torch.randn(3, 3, 8, 7)
    arrays |= {"clf_conv_filter": seven, "clf_conv_bias": torch.randn(7, 1)}
    ours = convert(arrays, mat_file="person_part")
    theirs = convert(weights)
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[k], v) for k, v in theirs.items() if "conv_seg" not in k)
    head = RefineNetHead((10, 12, 16, 20), (8, 8, 8, 12), num_classes=7, pool_first=False)
    head.load_state_dict(ours, strict=True)
    assert torch.equal(head.conv_seg.weight, seven.permute(3, 2, 0, 1))


def test_matlab_bias_of_the_first_conv_moves_into_its_norm():
    arrays = {
        "conv1_filter": torch.rand(7, 7, 3, 64),
        "conv1_bias": torch.full((64, 1), 2.0),
        "bn_conv1_moments": torch.ones(64, 2),
        "clf_conv_filter": torch.rand(3, 3, 8, 60),
        "mflow_conv_g1_poolprev_relu_varout_pb1_filter": torch.rand(3, 3, 8, 8),
        "clf_conv_bias": torch.rand(60, 1),
    }
    ours = convert(arrays, mat_file="pascal_context")
    assert "backbone.conv1.bias" not in ours
    assert (ours["backbone.bn1.running_mean"] == -1).all()


def test_matlab_files_of_others():
    arrays = matlab({}, 6, False)
    ours = convert(arrays, pool_first=False, void="last")
    assert ours["conv_seg.bias"].tolist() == list(range(5))
    assert any(".conv_pools." in key for key in ours)
    arrays = {key: value for key, value in arrays.items() if not key.startswith("clf_conv")}
    for options in ({}, dict(mat_file="person_part")):
        assert "conv_seg.weight" not in convert(arrays, **options)


@pytest.mark.parametrize(
    ("rows", "pool_first", "options", "message"),
    [
        (
            22,
            True,
            {},
            "of the authors needs mat_file, one of ade20k, .*, voc; another",
        ),
        (22, True, dict(mat_file="camvid"), "got 'camvid'"),
        (22, True, dict(mat_file="cityscapes"), r"classifier of 20 rows.* 22; .* another data set"),
        (22, False, dict(mat_file="voc"), "pools before the convs, but the names .* other order"),
        (41, True, dict(mat_file="nyudv2"), "pools after the convs, but the names .* other order"),
        (22, True, dict(mat_file="voc", void="first"), "mat_file implies void and pool_first"),
    ],
)
def test_refuses_matlab_files(rows, pool_first, options, message):
    with pytest.raises(ValueError, match=message):
        convert(matlab({}, rows, pool_first), **options)
