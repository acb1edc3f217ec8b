"""Every module computes what the authors' code computes, for their weights converted to ours."""

import re

import pytest
import torch
from mmseg.models.backbones.hrnet import HRModule
from mmseg.models.backbones.resnet import BasicBlock

from .reference import Case

#: Begin the names of what is no module: losses, TensorFlow files.
OTHERS = ("loss_", "tf_")
CASES = [(paper, name) for paper, name in Case.names() if not name.startswith(OTHERS)]


@pytest.mark.parametrize(("paper", "name"), CASES)
def test_equals_the_authors_code(paper, name):
    case = Case.load(paper, name)
    case.assert_equal(case.run())


def shapes_of(module):
    return {key: list(value.shape) for key, value in module.state_dict().items()}


def test_hrnet_modules_may_begin_with_other_channels():
    """Then a branch begins with a 1x1 conv beside its first block."""
    theirs = HRModule(2, BasicBlock, [1, 2], [4, 12], [6, 12]).eval()
    spec = dict(
        source="lib/models/seg_hrnet.py:HighResolutionModule",
        call="num_inchannels [4, 12], num_channels [6, 12]",
        keys=shapes_of(theirs),
        input=[dict(shape=[1, 4, 8, 8], seed=0), dict(shape=[1, 12, 4, 4], seed=1)],
        notes="",
    )
    case = Case("hrnet", "other_channels", spec, {})
    theirs.load_state_dict(case.weights())
    with torch.no_grad():
        expected = theirs(case.inputs())
    for got, want in zip(case.run().values(), expected, strict=True):
        torch.testing.assert_close(got, want)


def test_openseg_baseline_builds():
    spec = Case.load("hrnet", "seg_hrnet_w18_small_v1").spec
    keys = {f"backbone.{k}": s for k, s in spec["keys"].items() if not k.startswith("last_layer.")}
    head = torch.nn.Sequential(
        torch.nn.Conv2d(240, 240, 3),
        torch.nn.Sequential(torch.nn.BatchNorm2d(240)),
        torch.nn.Identity(),
        torch.nn.Conv2d(240, 5, 1, bias=False),
    )
    keys |= {f"cls_head.{key}": shape for key, shape in shapes_of(head).items()}
    outputs = dict(logits=dict(shape=[1, 5, 64, 96]))
    spec |= dict(source="openseg.pytorch lib/models/nets/hrnet.py:HRNet_W48", keys=keys)
    spec |= dict(input=dict(shape=[1, 3, 64, 96], seed=0), outputs=outputs)
    logits = Case("hrnet", "openseg_baseline", spec, {}).run()["logits"]
    assert list(logits.shape) == outputs["logits"]["shape"]


def test_wide_resnets_of_hanet_build():
    spec = Case.load("hanet", "deeplab_r50_os8_five_learned").spec
    keys = {}
    for key, shape in spec["keys"].items():
        keys[key] = list(shape)
        # Twice the channels inside a bottleneck.
        layer = re.match(r"layer[1-4]\.(\d+)\.(conv|bn)([123])\.(?!num)", key)
        if layer and layer[3] != "3":
            keys[key][0] *= 2
        if layer and layer[2] == "conv" and layer[3] != "1":
            keys[key][1] *= 2
    spec |= dict(keys=keys, call=spec["call"] | {"function": "DeepWideResNet50V3PlusD_HANet_OS8"})
    outputs = Case("hanet", "deeplab_wide_resnet", spec, {}).run()
    assert {k: list(v.shape) for k, v in outputs.items()} == {
        k: v["shape"] for k, v in spec["outputs"].items()
    }
