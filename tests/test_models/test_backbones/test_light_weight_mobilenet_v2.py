"""LightWeightMobileNetV2: the expansion of its first block, its maps, mmseg's weights in it."""

import pytest
import torch
from mmseg.models.backbones import MobileNetV2
from torch import nn

from mmseg_papers.models.backbones import LightWeightMobileNetV2


def test_maps_of_an_odd_size():
    net = LightWeightMobileNetV2().eval()
    with torch.no_grad():
        maps = net(torch.rand(1, 3, 97, 131))
    expected = [(24, 25, 33), (32, 13, 17), (64, 7, 9), (96, 7, 9), (160, 4, 5), (320, 4, 5)]
    assert [tuple(x.shape[1:]) for x in maps] == expected


def test_has_one_conv_more_than_mmsegs():
    ours, theirs = LightWeightMobileNetV2(), MobileNetV2()
    count = [sum(p.numel() for p in net.parameters()) for net in (ours, theirs)]
    assert count[0] - count[1] == 32 * 32 + 2 * 32


def test_weights_of_mmseg():
    """What they lack becomes the identity, and every map stays what it was."""
    theirs = MobileNetV2(out_indices=(1, 2, 3, 4, 5, 6))
    for name, buffer in theirs.named_buffers():
        if name.endswith(("mean", "var")):
            nn.init.uniform_(buffer, 0.05, 0.3)
    theirs.eval()  # returns None
    ours = LightWeightMobileNetV2().eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = 5 * torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        for a, b in zip(ours(x), theirs(x), strict=True):
            torch.testing.assert_close(a, b)


def test_refuses_weights_of_another_width():
    with pytest.raises(RuntimeError, match="the weights do not fit this LightWeightMobileNetV2"):
        LightWeightMobileNetV2().load_state_dict(
            MobileNetV2(widen_factor=0.5).state_dict(), strict=False
        )
