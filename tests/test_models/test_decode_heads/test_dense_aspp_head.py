"""DenseASPPHead: widths, order of the maps, the ReLU before everything, counts, refusals."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS
from torch import nn

from mmseg_papers.apis import multiply_adds
from mmseg_papers.apis.configs import packaged_configs
from mmseg_papers.models.decode_heads import DenseASPPHead
from mmseg_papers.ops import use_references

SMALL = dict(in_channels=8, bottleneck_channels=4, growth_channels=2, num_classes=5)


def make(**options):
    return DenseASPPHead(**{**SMALL, **options})


def test_every_layer_and_the_classifier_see_the_rectified_map():
    """The authors' first ReLU is in place, so the map itself is rectified for all."""
    head = make(dilations=(1, 2)).eval()
    x = torch.randn(2, 8, 9, 11)
    before = x.clone()
    with torch.no_grad():
        y = head([x])
        assert torch.equal(head([F.relu(x)]), y)
        features = head._forward_feature([x])
        first, second = head.aspp
        f = F.relu(x)
        z = torch.cat([first(f), f], dim=1)
        z = torch.cat([second(z), z], dim=1)  # the newest in front
    assert torch.equal(x, before), "the backbone's map stays as it is for other heads"
    torch.testing.assert_close(features, z)
    torch.testing.assert_close(y, head.conv_seg(z))


@pytest.mark.parametrize("is_training", [False, True])
def test_the_papers_text_reads_the_map_itself(is_training):
    head = make(dilations=(1, 2), rectify_input=False, pyramid_dropout_ratio=0.0, dropout_ratio=0)
    head.train(is_training)
    x = torch.randn(2, 8, 9, 11, requires_grad=True)
    plain = [*head.aspp]
    z = torch.cat([plain[0](x), x], dim=1)
    z = torch.cat([plain[1](z), z], dim=1)
    expected = head.conv_seg(z)
    y = head([x])
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    a, b = (torch.autograd.grad(out.square().sum(), x)[0] for out in (y, expected))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_is_built_as_the_authors():
    head = make(norm_cfg=dict(type="BN", momentum=0.0003))
    assert [layer.conv2.dilation[0] for layer in head.aspp] == [3, 6, 12, 18, 24]
    assert [layer.norm1 is None for layer in head.aspp] == [True] + [False] * 4
    assert all(conv.bias is not None for conv in head.modules() if isinstance(conv, nn.Conv2d))
    assert {m.momentum for m in head.modules() if isinstance(m, nn.BatchNorm2d)} == {0.0003}
    assert [layer.dropout.p for layer in head.aspp] == [0.1] * 5
    assert head.dropout.p == 0.1
    assert head.align_corners
    assert head.conv_seg.in_channels == head.channels == 8 + 5 * 2


NAMES = [
    "densenet121-d8",
    "densenet161-d8",
    "densenet169-d8",
    "densenet201-d8",
    "mobilenet-v2-d8",
]
#: Parameters, of the pyramid, giga multiply-adds at 512 x 512 and at 1024 x 2048.
COUNTS = [
    (8_280_851, 785_856, 38.6, 308.8),
    (35_395_427, 6_450_432, 154.9, 1239.5),
    (18_420_675, 4_518_296, 79.8, 638.3),
    (28_639_987, 8_660_880, 121.3, 970.7),
    (2_486_419, 661_440, 10.5, 83.8),
]


@pytest.mark.parametrize(("name", "counts"), list(zip(NAMES, COUNTS, strict=True)))
def test_counts_of_the_published_networks(name, counts):
    """Of the plain form: ours pools before the convs of transitions, a quarter of the work."""
    config = packaged_configs()[f"denseaspp_{name}_4xb2-30k_cityscapes-512x512"]
    with torch.device("meta"):
        model = MODELS.build(Config.fromfile(config).model)
    model = revert_sync_batchnorm(model).to("meta").eval()
    parameters, pyramid, *giga = counts
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(p.numel() for p in model.decode_head.aspp.parameters()) == pyramid
    for size, expected in zip(((512, 512), (1024, 2048)), giga, strict=True):
        images = torch.empty(1, 3, *size, device="meta")
        with use_references():
            assert round(multiply_adds(model, images) / 1e9, 1) == expected


def test_warns_while_training_on_maps_too_small_for_the_rate():
    head = make(dilations=(3, 6)).train()
    with pytest.warns(UserWarning, match=r"rates \[6\] a 3x3 conv on a map of 6 x 40 "):
        head([torch.rand(2, 8, 6, 40)])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        head([torch.rand(2, 8, 8, 7)])
        head.eval()([torch.rand(2, 8, 6, 40)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(dilations=()), r"dilations must be at least 1, got \(\)"),
        (dict(dilations=(3, 0)), r"dilations must be at least 1, got \(3, 0\)"),
        (dict(growth_channels=0), r"growth_channels must be at least 1, got \[0\]"),
        (dict(bottleneck_channels=-1), r"bottleneck_channels must be at least 1, got \[-1\]"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_refuses_maps_of_other_channels():
    with pytest.raises(
        ValueError, match=r"in_channels=8, but the backbone's map -1 has 9 channels"
    ):
        make()([torch.rand(1, 9, 30, 30)])
