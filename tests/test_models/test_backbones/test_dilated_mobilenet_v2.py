"""DilatedMobileNetV2: what it has that mmseg's has not, and mmseg's weights in it."""

import pytest
import torch
from mmseg.models.backbones import MobileNetV2
from torch import nn

from mmseg_papers.models.backbones import DilatedMobileNetV2


def is_depthwise(module):
    return isinstance(module, nn.Conv2d) and module.groups > 1


def rates(net):
    """Of the depthwise convs, stage by stage."""
    return [
        [m.dilation[0] for m in getattr(net, name).modules() if is_depthwise(m)]
        for name in net.layers
    ]


@pytest.mark.parametrize(
    ("output_stride", "dilations"), [(8, (1, 1, 1, 2, 2, 2, 2)), (16, (1,) * 7)]
)
def test_every_block_of_a_stage_is_dilated(output_stride, dilations):
    net = DilatedMobileNetV2(output_stride).eval()
    counts = (1, 2, 3, 4, 3, 3, 1)
    assert rates(net) == [[d] * n for d, n in zip(dilations, counts, strict=True)]
    with torch.no_grad():
        maps = net(torch.rand(1, 3, 97, 131))
    third = (13, 17) if output_stride == 8 else (7, 9)
    # The authors' code means to resize the last map at output stride 16, too, and does not.
    last = third if output_stride == 8 else (14, 18)
    assert [tuple(y.shape[1:]) for y in maps] == [
        (24, 25, 33),
        (32, 13, 17),
        (96, *third),
        (320, *last),
    ]
    assert (maps[-1] < 0).any(), "the ReLU is the head's"


def test_parameters_and_activations():
    net = DilatedMobileNetV2()
    assert sum(p.numel() for p in net.parameters()) == 1_812_800
    assert type(net.conv1.activate) is nn.ReLU
    first = net.layer1[0].conv
    assert [layer.conv.kernel_size[0] for layer in first] == [1, 3, 1]
    assert type(first[0].activate) is nn.ReLU6


def test_weights_of_mmseg():
    """With the identity for the first expansion the stem's ReLU6 is back."""
    theirs = MobileNetV2(strides=(1, 2, 2, 1, 1, 1, 1), dilations=(1,) * 7, out_indices=(0, 6))
    for name, buffer in theirs.named_buffers():
        if name.endswith(("mean", "var")):
            nn.init.uniform_(buffer, 0.05, 0.3)
    theirs.eval()  # returns None
    ours = DilatedMobileNetV2(out_indices=(0, 6)).eval()
    for module in ours.modules():  # rates are no weights
        if is_depthwise(module):
            module.dilation = module.padding = (1, 1)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = 5 * torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        assert (theirs.conv1(x) == 6).any(), "so that ReLU6 is not ReLU"
        for a, b in zip(ours(x), theirs(x), strict=True):
            torch.testing.assert_close(a, b)


def test_own_weights_load_unchanged():
    first, second = DilatedMobileNetV2(), DilatedMobileNetV2()
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(second.layer1[0].conv[0].conv.weight, first.layer1[0].conv[0].conv.weight)


def test_refuses_weights_of_another_width():
    with pytest.raises(RuntimeError, match="do not fit this DilatedMobileNetV2; nothing was load"):
        DilatedMobileNetV2().load_state_dict(
            MobileNetV2(widen_factor=0.5).state_dict(), strict=False
        )


def test_trains_with_frozen_stages_and_checkpointing():
    net = DilatedMobileNetV2(frozen_stages=1, with_cp=True)
    assert net.train() is net
    sum(y.square().mean() for y in net(torch.rand(2, 3, 33, 33))).backward()
    without = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is None}
    assert without == {"conv1", "layer1"}


def test_refuses_other_output_strides():
    with pytest.raises(ValueError, match="output_stride must be one of 8, 16, got 32"):
        DilatedMobileNetV2(32)
