"""HighResolutionNet: variants, sizes, options, and what is refused."""

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from mmseg.models.backbones import HRNet

from mmseg_papers.models.backbones import HighResolutionNet
from mmseg_papers.models.backbones.hrnet import ARCHS, NewStream, arch_to_extra


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


@pytest.mark.parametrize(
    "resizing",
    [dict(), dict(upsample_mode="nearest"), dict(align_corners=True)],
    ids=["bilinear", "nearest", "aligned"],
)
def test_the_papers_order_of_a_fusion(resizing):
    """Enlarging and 1x1 convs commute in evaluation; BN sees other values in training."""
    orders = ("conv", "upsample")
    nets = [
        HighResolutionNet(arch="w18_small_v1", fusion_order=order, **resizing) for order in orders
    ]
    nets[1].load_state_dict(nets[0].state_dict(), strict=True)
    x = torch.rand(2, 3, 97, 141)
    with torch.no_grad():
        for a, b in zip(*(net.train()(x) for net in nets), strict=True):
            assert a.shape == b.shape
        a, b = (net.stage2[0].fuse_layers[0][1][1] for net in nets)
        assert not torch.allclose(a.running_var, b.running_var, rtol=1e-3)
        nets[1].load_state_dict(nets[0].state_dict(), strict=True)
        for a, b in zip(*(net.eval()(x) for net in nets), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_new_streams_from_all_as_in_the_paper(small):
    net = HighResolutionNet(arch="w18_small_v1", new_stream_from="all").train()
    assert not isinstance(small.transition3[3], NewStream)
    strides = [2 ** len(convs) for convs in net.transition3[3].convs]
    assert strides == [8, 4, 2]
    streams = [torch.rand(2, 16 * 2**r, -(-25 // 2**r), -(-36 // 2**r)) for r in range(3)]
    new = net.transition3[3](streams)
    by_hand = sum(f(y) for f, y in zip(net.transition3[3].convs, streams, strict=True)).relu()
    torch.testing.assert_close(new, by_hand)
    seen = []
    net.stage3[-1].register_forward_hook(lambda _, __, outputs: seen.append(outputs))
    net.transition3[3].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    maps = net(torch.rand(2, 3, 97, 141))
    assert len(seen) == 2
    assert all(a is b for a, b in zip(*seen, strict=True))
    assert [tuple(y.shape[2:]) for y in maps] == [(25, 36), (13, 18), (7, 9), (4, 5)]
    sum(y.square().mean() for y in maps).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_new_streams_come_one_at_a_time():
    extra = arch_to_extra("w18_small_v1")
    extra["stage3"] = {**extra["stage2"], "num_channels": (16, 32)}
    with pytest.raises(ValueError, match=r"'all' needs stages .* 4 branches after 2"):
        HighResolutionNet(extra=extra, new_stream_from="all")
    extra["stage4"] = dict(extra["stage3"])
    net = HighResolutionNet(extra=extra, new_stream_from="all").eval()
    with torch.no_grad():
        assert [tuple(y.shape[2:]) for y in net(torch.rand(1, 3, 64, 64))] == [(16, 16), (8, 8)]


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
        (dict(arch="w18", fusion_order="resize"), "fusion_order must be one of conv, upsample"),
        (dict(arch="w18", new_stream_from="both"), "new_stream_from must be one of lowest, all"),
        (
            dict(arch="w18", fusion_order="upsample", upsample_cfg=dict(type="nearest")),
            "upsample_cfg works after the convs.*got 'upsample'",
        ),
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
