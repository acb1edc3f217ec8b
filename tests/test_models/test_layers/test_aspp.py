"""ASPP and DeepLabV3+'s decoder: forms, rates, training, and what is refused."""

import re
import warnings

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing
from mmseg.models.decode_heads import ASPPHead
from torch import nn
from torch.nn import functional as F

from mmseg_papers.models.layers import ASPP, DeepLabV3PlusDecoder


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def plain(aspp, x):
    """Expand, concatenate, project."""
    maps = [branch.expand(-1, -1, *x.shape[2:]) for branch in aspp.branches(x)]
    return aspp.dropout(ConvModule.forward(aspp.bottleneck, torch.cat(maps, dim=1)))


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("with_image_pool", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
def test_equals_the_concatenation(separable, with_image_pool, kernel):
    aspp = ASPP(
        6,
        4,
        (2, 3),
        separable=separable,
        with_image_pool=with_image_pool,
        bottleneck_kernel=kernel,
        dropout_ratio=0,
    ).double()
    for mode in (True, False):
        x = torch.randn(2, 6, 7, 9, dtype=torch.float64, requires_grad=True)
        outputs = []
        for function in (aspp, lambda x: plain(aspp, x)):
            aspp.train(mode)
            y = function(x)
            outputs.append([y, *torch.autograd.grad(y.square().sum(), [x, *aspp.parameters()])])
        for a, b in zip(*outputs, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("size", [(5, 7), (5, 1), (1, 1)])
@pytest.mark.parametrize("kernel", [1, 3])
def test_one_value_an_image_or_a_row(size, kernel):
    """The image level, and what a height-driven gate makes of it."""
    aspp = ASPP(6, 4, (2, 3), bottleneck_kernel=kernel).eval()
    pooled, *maps = aspp.branches(torch.randn(2, 6, *size))
    for constant in (pooled, torch.randn(2, 4, size[0], 1)):
        x = torch.cat([constant.expand(-1, -1, *size), *maps], dim=1)
        expected = ConvModule.forward(aspp.bottleneck, x)
        torch.testing.assert_close(aspp.bottleneck((constant, *maps)), expected)


def test_a_hooked_projection_equals_the_other():
    aspp, x, seen = ASPP(6, 4, (2, 3)).double().eval(), torch.randn(2, 6, 5, 7).double(), []
    expected = aspp(x)
    aspp.bottleneck.register_forward_hook(lambda *_: seen.append(1))
    torch.testing.assert_close(aspp(x), expected)
    assert seen == [1]


def test_a_checkpointed_projection_gives_all_gradients():
    aspp = ASPP(6, 4, (2, 3))
    turn_on_activation_checkpointing(aspp, ["bottleneck"])
    aspp(torch.randn(2, 6, 5, 7)).sum().backward()
    assert all(p.grad is not None for p in aspp.parameters())


def test_without_projection():
    aspp = ASPP(6, 4, (2, 3), pool_channels=5, bottleneck_kernel=None).eval()
    with torch.no_grad():
        y = aspp(torch.randn(1, 6, 5, 7))
    assert y.shape == (1, 5 + 3 * 4, 5, 7)
    assert aspp.concat_channels == y.shape[1]
    torch.testing.assert_close(y[:, :5], y[:, :5, :1, :1].expand(-1, -1, 5, 7))


@pytest.mark.parametrize(("output_stride", "rates"), [(4, 24), (8, 12), (16, 6), (32, 3)])
def test_rates_follow_the_output_stride(output_stride, rates):
    built = ASPP(6, 4, output_stride=output_stride).eval()
    changed = ASPP(6, 4).eval()
    changed.load_state_dict(built.state_dict())
    changed.set_output_stride(output_stride)
    assert built.scaled_rates == changed.scaled_rates == (rates, 2 * rates, 3 * rates)
    assert built.aspp_modules[1].conv.dilation == built.aspp_modules[1].conv.padding
    x = torch.randn(1, 6, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(built(x), changed(x))


def test_large_rates_leave_the_centre():
    """Section 3.3: at a rate of the map's size a 3x3 conv is a 1x1 conv."""
    aspp = ASPP(6, 4, (9,)).eval()
    branch = aspp.aspp_modules[1]
    x = torch.randn(1, 6, 9, 9)
    centre = F.conv2d(x, branch.conv.weight[:, :, 1:2, 1:2])
    with torch.no_grad():
        torch.testing.assert_close(branch.conv(x), centre)


def test_warns_once_of_maps_too_small_for_a_rate():
    aspp = ASPP(6, 4, (2, 6))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            aspp.train()(torch.randn(2, 6, 5, 7))
            aspp.eval()(torch.randn(2, 6, 5, 6))
    (warning,) = caught
    assert re.search(r"rates \[6\] .* map of 5 x 7 .* larger crop_size", str(warning.message))


def test_one_image_in_training():
    x = torch.randn(1, 6, 9, 9)
    with pytest.raises(ValueError, match=r"at least 2 images on a GPU.*with_image_pool=False"):
        ASPP(6, 4, (2, 3)).train()(x)
    ASPP(6, 4, (2, 3), with_image_pool=False).train()(x)
    frozen = ASPP(6, 4, (2, 3)).train()
    frozen.image_pool.eval()
    frozen(x)


def test_mmseg_has_two_and_a_half_times_the_parameters():
    """mmsegmentation issue 2562: its 3x3 bottleneck dominates."""
    ours = ASPP(2048)
    theirs = ASPPHead(
        in_channels=2048, channels=512, num_classes=1, norm_cfg=dict(type="BN"), in_index=0
    )
    assert round(parameters(ours) / 1e6, 2) == 15.54
    assert parameters(theirs) > 2.5 * parameters(ours)


@pytest.mark.parametrize("separable", [False, True])
def test_decoder(separable):
    decoder = DeepLabV3PlusDecoder(8, 6, 3, (5, 4), separable=separable, dropout_ratios=(0.5, 0.1))
    decoder.train()
    y = decoder(torch.randn(2, 8, 3, 4), torch.randn(2, 6, 9, 13))
    assert y.shape == (2, 4, 9, 13)
    y.sum().backward()
    assert all(p.grad is not None for p in decoder.parameters())
    assert [type(m) for m in decoder.dropouts] == [nn.Dropout, nn.Dropout]


def test_initialised_as_the_authors():
    torch.manual_seed(0)
    aspp, decoder = ASPP(64, 32, separable=True), DeepLabV3PlusDecoder(separable=False)
    aspp.init_weights()
    decoder.init_weights()
    branch = aspp.aspp_modules[1]
    # The standard deviation of a normal truncated at two of its own is 0.88 of it.
    assert branch.depthwise_conv.conv.weight.std().item() == pytest.approx(0.33 * 0.88, rel=0.05)
    assert branch.pointwise_conv.conv.weight.std().item() == pytest.approx(0.06 * 0.88, rel=0.05)
    dense = decoder.convs[0].conv.weight
    assert dense.abs().max().item() == pytest.approx((6 / (9 * (304 + 256))) ** 0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(bottleneck_kernel=5), "bottleneck_kernel must be 1, 3 or None, got 5"),
        (dict(rates=(1, 6)), r"rates must be at least 2 .* got \(1, 6\)"),
        (dict(rates=(5,), output_stride=32), r"\(5,\) .* no whole numbers at output_stride=32"),
        (dict(output_stride=0), "output_stride=0"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        ASPP(6, 4, **options)


def test_decoder_refuses_dropouts_of_another_number():
    with pytest.raises(ValueError, match=r"each of channels=\(256, 256\), got \(0.5,\)"):
        DeepLabV3PlusDecoder(dropout_ratios=(0.5,))
