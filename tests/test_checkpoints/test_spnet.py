"""Conversion of SPNet's files: today's, the two older forms, and the ImageNet backbone."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmseg_papers.checkpoints import convert_state_dict
from mmseg_papers.models.backbones import PluginResNetV1c
from mmseg_papers.models.layers import StripPoolingModule

from ..data.reference import fill


class FirstStripPooling(nn.Module):
    """The authors' module until 27 May 2020: biases, and each conv on the other strip.

    Until 10 June 2020 (``swapped=False``): biases alone.
    """

    def __init__(self, channels, swapped):
        super().__init__()
        self.swapped = swapped
        self.conv1 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        strips = x.mean(3, keepdim=True), x.mean(2, keepdim=True)
        tall, wide = strips[::-1] if self.swapped else strips
        total = self.bn1(self.conv1(tall)) + self.bn2(self.conv2(wide))
        return x * self.conv3(F.relu(total)).sigmoid()


def filled(module):
    shapes = {key: list(value.shape) for key, value in module.state_dict().items()}
    weights = {k: torch.from_numpy(v) for k, v in fill.fill_state_dict(shapes).items()}
    module.load_state_dict(weights)
    return module.double().eval()


@pytest.mark.parametrize(
    ("swapped", "name", "options"),
    [
        (True, "", dict(pools_swapped=True)),
        (False, "", dict(pools_swapped=False)),
        (True, "layer1.2.dual_se.", {}),
        (True, "layer1.2.dual_se.", dict(pools_swapped=True)),
        (False, "layer1.2.spm.", dict(pools_swapped=False)),
        (True, "module.pretrained.layer1.2.spm.", dict(pools_swapped=True)),
    ],
)
def test_older_strip_pooling_converts_exactly(swapped, name, options):
    theirs = filled(FirstStripPooling(6, swapped))
    weights = {name + key: value for key, value in theirs.state_dict().items()}
    converted = convert_state_dict("spnet", weights, **options)
    inner = name.replace("dual_se", "spm").replace("module.pretrained.", "backbone.")
    assert all(key.startswith(inner) for key in converted)
    ours = StripPoolingModule(6).double().eval()
    ours.load_state_dict({key.removeprefix(inner): v for key, v in converted.items()})
    x = torch.randn(2, 6, 5, 8, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
        other = FirstStripPooling(6, not swapped).double().eval()
        other.load_state_dict(theirs.state_dict())
        assert (other(x) - theirs(x)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("bias", "name", "options", "message"),
    [
        (True, "spm.", {}, r"spm\.conv1 has a bias.*pools_swapped=True or False"),
        (False, "spm.", dict(pools_swapped=True), "no biases"),
        (True, "dual_se.", dict(pools_swapped=False), "dual_se: an older file"),
    ],
)
def test_contradictions_are_refused(bias, name, options, message):
    weights = filled(FirstStripPooling(4, swapped=True)).state_dict()
    weights = {f"layer1.2.{name}{k}": v for k, v in weights.items()}
    if not bias:
        weights = {k: v for k, v in weights.items() if "conv" not in k or k.endswith("weight")}
    with pytest.raises(ValueError, match=message):
        convert_state_dict("spnet", weights, **options)


def test_imagenet_weights_of_pytorch_encoding():
    net = PluginResNetV1c(depth=50, stem_channels=128)
    theirs = {}
    for key, value in net.state_dict().items():
        stem = key.startswith("stem.7")
        theirs[key.replace("stem.7", "bn1") if stem else key.replace("stem.", "conv1.")] = value
    theirs |= {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    assert "bn1.running_mean" in theirs
    net.load_state_dict(convert_state_dict("spnet", theirs), strict=True)


def test_unknown_keys_are_named():
    with pytest.raises(KeyError, match=r"1 keys .*head\.other\.weight"):
        convert_state_dict("spnet", {"head.other.weight": torch.zeros(1)})
