"""ESPNetv2: sizes, parameters, weights that do not fit."""

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_papers.models.backbones import ESPNetv2
from mmseg_papers.models.backbones.espnetv2 import CHANNELS, EESP, EESPDownsampler
from mmseg_papers.models.decode_heads import ESPNetv2Head
from mmseg_papers.models.layers import DeconvSSSR

#: With the decoder for 20 outputs and the SSSR layers, as the authors' code counts them.
PARAMETERS = {0.5: 87_662, 1.0: 241_330, 1.25: 350_426, 1.5: 475_682, 2.0: 796_562}


@pytest.mark.parametrize("scale", CHANNELS)
def test_parameters(scale):
    channels = CHANNELS[scale]
    net = ESPNetv2(scale)
    parts = (net, ESPNetv2Head(channels, num_classes=19, void_class=True), DeconvSSSR(20))
    ours = sum(p.numel() for part in parts for p in part.parameters())
    unused = channels[3] - channels[0]  # PReLUs that the authors' downsamplers never call
    assert ours + unused == PARAMETERS[scale]


@pytest.mark.parametrize("size", [(32, 48), (33, 49), (47, 31), (1, 1)])
def test_sizes_round_up(size):
    net = ESPNetv2(0.5).eval()
    maps = net(torch.rand(2, 3, *size))
    for stride, channels, y in zip((2, 4, 8, 16), CHANNELS[0.5], maps, strict=True):
        assert y.shape == (2, channels, *(-(-n // stride) for n in size))


@pytest.mark.parametrize(("max_kernel", "dilations"), [(13, [1, 2, 3, 4]), (7, [1, 1, 2, 3])])
def test_kernels_above_the_limit_become_3(max_kernel, dilations):
    block = EESP(16, 16, max_kernel=max_kernel)
    assert [conv.dilation[0] for conv in block.pyramid] == dilations


def test_downsampler_of_one_pixel_has_no_shortcut():
    """A strided unit keeps a single pixel's shape, but the authors add nothing to it."""
    unit = EESPDownsampler(16, 32, max_kernel=11).eval()
    image, x = torch.rand(1, 3, 2, 2), torch.rand(1, 16, 1, 1)
    torch.nn.init.zeros_(unit.eesp.expand.conv.weight)
    halved = torch.nn.functional.avg_pool2d(image, 3, 2, 1)
    of_eesp = (unit(x, image) - unit.act(unit.reinforce(halved)))[:, 16:]
    assert torch.equal(of_eesp, torch.zeros_like(of_eesp))


def test_unknown_scale():
    with pytest.raises(ValueError, match=r"scale must be one of 0.5, 1.0, 1.25.*got 3.0"):
        MODELS.build(dict(type="ESPNetv2", scale=3.0))


def test_weights_of_another_scale_are_refused():
    with pytest.raises(RuntimeError, match="do not fit this ESPNetv2; nothing was loaded"):
        ESPNetv2(1.0).load_state_dict(ESPNetv2(0.5).state_dict(), strict=False)


def test_every_parameter_learns():
    net = ESPNetv2(0.5)
    sum(y.square().mean() for y in net(torch.rand(2, 3, 32, 32))).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []
