"""Files of HANet's authors."""

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_papers.checkpoints import convert_state_dict
from mmseg_papers.models.backbones import AtrousResNet
from mmseg_papers.models.layers import HeightAttention

from ..reference import Case
from ..reference.hanet import build


def test_a_model_of_another_r_is_refused():
    """The authors' loader dropped it in silence: 72.09 instead of 82.05 mIoU (their issue 2)."""
    case = Case.load("hanet", "layer_sin_pos2")
    weights = case.weights()
    call = case.spec["call"]
    layer = HeightAttention(call["in_channel"], call["out_channel"], 2 * call["r_factor"])
    with pytest.raises(RuntimeError, match=r"size mismatch for conv1\.weight"):
        layer.load_state_dict(weights)


def test_wrapped_files_and_unknown_keys():
    case = Case.load("hanet", "deeplab_mnv2_os16")
    filled = {f"module.{k}": torch.zeros(shape) for k, shape in case.spec["keys"].items()}
    model, _ = build(case)
    of_losses = {
        f"module.{name}.nll_loss.weight": torch.ones(19) for name in ("criterion", "criterion_aux")
    }
    model.load_state_dict(convert_state_dict("hanet", filled | of_losses), strict=True)
    with pytest.raises(KeyError, match=r"1 keys .*: module2"):
        convert_state_dict("hanet", {**filled, "module2.weight": torch.zeros(1)})


def test_imagenet_weights_of_the_deep_stem():
    net = AtrousResNet(depth=18, deep_stem=True, stem_channels=128)
    theirs = {}
    for key, value in net.state_dict().items():
        if key.startswith("stem."):
            place, name = key.split(".")[1:]
            kind = "conv" if int(place) % 3 == 0 else "bn"
            key = f"{kind}{int(place) // 3 + 1}.{name}"
        theirs[key] = torch.full_like(value, 1)
    theirs["fc.weight"] = torch.zeros(1)
    net.load_state_dict(convert_state_dict("hanet", theirs), strict=True)
    assert all((value == 1).all() for value in net.state_dict().values())


@pytest.mark.parametrize("trunk", ["ResNeXt"])
def test_resnext_keeps_its_names(trunk):
    with torch.device("meta"):
        net = MODELS.build(dict(type=trunk, depth=50, groups=32, base_width=4))
    keys = [f"backbone.{key}" for key in net.state_dict()]
    theirs = {
        key.replace("backbone.conv1.", "layer0.0.")
        .replace("backbone.bn1.", "layer0.1.")
        .replace("backbone.", ""): torch.zeros(1)
        for key in keys
    }
    assert sorted(convert_state_dict("hanet", theirs)) == sorted(keys)
