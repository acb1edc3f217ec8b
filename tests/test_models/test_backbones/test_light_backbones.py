"""HANet's light trunks."""

import pytest
import torch
from torch import nn

from mmseg_papers.models.backbones import FullMobileNetV2, LightWeightMobileNetV2, ShuffleNetV2


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_mobilenet_sizes_and_rates(output_stride):
    net = FullMobileNetV2(output_stride).eval()
    maps = net(torch.randn(1, 3, 65, 97))
    assert [y.shape[1] for y in maps] == [32, 320, 1280]
    assert [tuple(y.shape[2:]) for y in maps[1:]] == [
        (-(-65 // output_stride), -(-97 // output_stride))
    ] * 2
    rates = [m.dilation[0] for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    # Only the first unit of a stage whose stride is removed.
    assert [r for r in rates if r > 1] == {32: [], 16: [2], 8: [2, 4]}[output_stride]


def test_mobilenet_trains_and_counts():
    net = FullMobileNetV2()
    assert net.train() is net
    assert sum(p.numel() for p in net.parameters()) == 2_223_872  # torchvision's features


def test_a_single_map_of_mobilenet_is_a_tuple_too():
    net = LightWeightMobileNetV2(out_indices=(2,)).eval()
    assert [tuple(y.shape) for y in net(torch.randn(1, 3, 32, 32))] == [(1, 32, 4, 4)]


@pytest.mark.parametrize("output_stride", [16, 32])
def test_shufflenet_sizes_and_rates(output_stride):
    net = ShuffleNetV2(output_stride=output_stride).eval()
    maps = net(torch.randn(1, 3, 65, 97))
    assert [tuple(y.shape[1:]) for y in maps] == [
        (116, 9, 13),
        (464, -(-65 // output_stride), -(-97 // output_stride)),
        (1024, -(-65 // output_stride), -(-97 // output_stride)),
    ]
    rates = [m.dilation[0] for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert sum(r > 1 for r in rates) == (2 if output_stride == 16 else 0)


@pytest.mark.parametrize(
    ("width", "millions"), [(0.5, 0.34), (1.0, 1.25), (1.5, 2.48), (2.0, 5.34)]
)
def test_shufflenet_counts(width, millions):
    with torch.device("meta"):
        net = ShuffleNetV2(width)
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FullMobileNetV2(4), r"output_stride must be one of \(32, 16, 8\), got 4"),
        (lambda: ShuffleNetV2(output_stride=8), "output_stride must be 16 or 32, got 8"),
        (
            lambda: ShuffleNetV2(0.7),
            r"widen_factor must be one of \(0\.5, 1\.0, 1\.5, 2\.0\), got 0\.7",
        ),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_weights_load_whole_or_not_at_all():
    net = ShuffleNetV2()
    weights = net.state_dict()
    del weights["layers.3.conv.weight"]
    with pytest.raises(RuntimeError, match=r"1 missing: layers\.3\.conv\.weight"):
        net.load_state_dict(weights, strict=False)
