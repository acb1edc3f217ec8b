"""HighResolutionNet: variants, sizes, options, and what is refused."""

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from mmseg.models.backbones import HRNet

from mmseg_papers.models.backbones import HighResolutionNet
from mmseg_papers.models.backbones.hrnet import ARCHS, arch_to_extra


@pytest.fixture(scope="module")
def small():
    return HighResolutionNet(arch="w18_small_v1").eval()


@pytest.mark.parametrize("size", [(64, 96), (97, 141), (33, 32), (1, 7)])
def test_sizes_of_the_streams(small, size):
    with torch.no_grad():
        streams = small(torch.rand(1, 3, *size))
    for r, stream in enumerate(streams):
        stride = 4 * 2**r
        assert stream.shape == (1, 16 * 2**r, -(-size[0] // stride), -(-size[1] // stride))


def test_equals_mmseg_where_mmseg_is_right():
    """At sizes divisible by 32 both are the authors' network, so weights pass between them."""
    extra = arch_to_extra("w18_small_v2")
    theirs, ours = HRNet(extra), HighResolutionNet(extra=extra)
    theirs.eval()  # returns None
    ours.eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for a, b in zip(theirs(x), ours(x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_differs_from_mmseg_where_mmseg_is_wrong():
    """At other sizes mmseg resizes twice; the reference cases show that ours is the authors'."""
    extra = arch_to_extra("w18_small_v1")
    theirs, ours = HRNet(extra), HighResolutionNet(extra=extra).eval()
    theirs.eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.rand(1, 3, 97, 141)
    with torch.no_grad():
        a, b = theirs(x)[0], ours(x)[0]
    assert (a - b).abs().max() > 1e-2 * a.abs().mean()


@pytest.mark.parametrize("upsample_mode", ["bilinear", "nearest"])
def test_folded_batch_norm_changes_nothing(upsample_mode):
    net = HighResolutionNet(arch="w18_small_v1", upsample_mode=upsample_mode).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = net(x)
        folded = fuse_conv_bn(net)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
        for a, b in zip(folded(x), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_mmsegs_train_returns_nothing():
    """The reason for ours: remove it when this test fails."""
    assert HRNet(arch_to_extra("w18_small_v1")).train() is None


@pytest.mark.parametrize("option", [dict(upsample_mode="nearest"), dict(align_corners=True)])
def test_resize_options_change_the_result_and_no_key(small, option):
    other = HighResolutionNet(arch="w18_small_v1", **option).eval()
    other.load_state_dict(small.state_dict(), strict=True)
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert (other(x)[0] - small(x)[0]).abs().max() > 1e-3


@pytest.mark.parametrize(("scope", "fusions"), [("all", 6), ("across", 3), ("final", 1)])
def test_fusion_scope(scope, fusions):
    net = HighResolutionNet(arch="w18_small_v2", fusion_scope=scope)
    modules = [m for stage in (net.stage2, net.stage3, net.stage4) for m in stage]
    assert sum(m.fuse_layers is not None for m in modules) == fusions
    net(torch.rand(2, 3, 64, 64))[0].mean().backward()
    assert net.conv1.weight.grad.abs().sum() > 0


def test_a_stream_that_changes_width_reads_itself():
    """mmseg feeds every changed stream from the lowest one, of another size."""
    extra = arch_to_extra("w18_small_v1")
    extra["stage3"]["num_channels"] = (24, 32, 64)
    net = HighResolutionNet(extra=extra).eval()
    with torch.no_grad():
        assert [tuple(y.shape[1:]) for y in net(torch.rand(1, 3, 64, 64))] == [
            (16, 16, 16),
            (32, 8, 8),
            (64, 4, 4),
            (128, 2, 2),
        ]


def test_single_output():
    net = HighResolutionNet(arch="w18_small_v1", multiscale_output=False).eval()
    assert len(net.stage4[-1].fuse_layers) == 1
    with torch.no_grad():
        assert [y.shape[1] for y in net(torch.rand(1, 3, 64, 64))] == [16]


def test_train_returns_the_module_and_keeps_frozen_parts(small):
    assert small.train().eval() is small
    net = HighResolutionNet(arch="w18_small_v1", frozen_stages=1, norm_eval=True).train()
    assert not net.conv1.weight.requires_grad
    assert not net.stage4[0].branches[0][0].bn1.training
    assert net.stage4.training


@pytest.mark.parametrize("with_cp", [False, True])
def test_gradients_reach_every_parameter(with_cp):
    net = HighResolutionNet(arch="w18_small_v1", with_cp=with_cp)
    sum(y.square().mean() for y in net(torch.rand(2, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(arch="w19"), r"arch must be one of .*w48.*got 'w19'"),
        (dict(), "exactly one of arch and extra"),
        (dict(arch="w18", extra=arch_to_extra("w18")), "exactly one of arch and extra"),
        (dict(arch="w18", upsample_mode="bicubic"), "upsample_mode must be one of bilinear, near"),
        (dict(arch="w18", fusion_scope="none"), "fusion_scope must be one of all, across, final"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        HighResolutionNet(**options)


def test_refuses_crops_below_the_stride():
    net = HighResolutionNet(arch="w18_small_v1").train()
    with pytest.raises(ValueError, match=r"16 x 64 .*crop_size of at least 32 x 32"):
        net(torch.rand(2, 3, 16, 64))


def test_every_published_variant_is_listed():
    assert {"w18_small_v1", "w18_small_v2", "w18", "w32", "w40", "w48"} <= set(ARCHS)


def test_refuses_a_batch_that_batch_norm_cannot_use():
    net = HighResolutionNet(arch="w18_small_v1").train()
    with pytest.raises(ValueError, match="larger crop_size or batch_size"):
        net(torch.rand(1, 3, 32, 32))
    net(torch.rand(2, 3, 32, 32))
