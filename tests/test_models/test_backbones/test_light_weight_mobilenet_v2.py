"""LightWeightMobileNetV2: the expansion of its first block, its maps, strict loading."""

import pytest
import torch
from mmseg.models.backbones import MobileNetV2

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


def test_refuses_weights_of_mmsegs():
    with pytest.raises(RuntimeError, match="the weights do not fit this LightWeightMobileNetV2"):
        LightWeightMobileNetV2().load_state_dict(MobileNetV2().state_dict(), strict=False)
