"""AlignedXception: its tables, taps, traps of the ports, and what is refused."""

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from mmseg_papers.models.backbones import AlignedXception
from mmseg_papers.models.backbones.aligned_xception import XceptionModule
from mmseg_papers.ops import use_references
from tests.test_ops.layer_runs import assert_close, run, values_kept


@pytest.fixture(scope="module")
def small():
    return AlignedXception(41).eval()


@pytest.mark.parametrize(("depth", "millions"), [(41, 24.92), (65, 37.87), (71, 40.29)])
def test_parameter_counts(depth, millions):
    with torch.device("meta"):
        net = AlignedXception(depth)
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 2) == millions


def rates(net):
    return [block.convs[2].depthwise_conv.conv.dilation[0] for block in net.blocks]


@pytest.mark.parametrize(
    ("output_stride", "entry3", "middle", "exit1", "exit2"),
    [(32, 1, 1, 1, 1), (16, 1, 1, 1, 2), (8, 1, 2, 2, 4), (4, 2, 4, 4, 8)],
)
def test_rates(output_stride, entry3, middle, exit1, exit2):
    with torch.device("meta"):
        net = AlignedXception(65, output_stride)
    assert rates(net) == [1, 1, entry3] + [middle] * 16 + [exit1, exit2]


def test_multi_grid_multiplies_the_last_rate():
    with torch.device("meta"):
        net = AlignedXception(65, 8, multi_grid=(1, 2, 4))
    last = net.blocks[-1].convs
    assert [conv.depthwise_conv.conv.dilation[0] for conv in last] == [4, 8, 16]


def test_maps_and_output_strides(small):
    keys = list(small.state_dict())
    with torch.no_grad():
        for output_stride in (4, 8, 16, 32):
            small.set_output_stride(output_stride)
            maps = small(torch.rand(1, 3, 65, 50))
            strides = [min(s, output_stride) for s in (4, 8, 16, 32)]
            assert [tuple(y.shape) for y in maps] == [
                (1, c, -(-65 // s), -(-50 // s))
                for c, s in zip((256, 728, 1024, 2048), strides, strict=True)
            ]
    assert list(small.state_dict()) == keys
    small.set_output_stride(16)


def test_shortcuts_and_taps_are_not_rectified(small):
    """An in-place ReLU at a module's start would rectify what its shortcut reads."""
    module = small.blocks[4]
    x = torch.randn(1, 728, 5, 5)
    before = x.clone()
    with torch.no_grad():
        module(x)
        taps = small(torch.rand(1, 3, 33, 33))[:3]
    torch.testing.assert_close(x, before)
    assert all((tap < 0).any() for tap in taps)


def test_batch_norm_is_the_authors():
    with torch.device("meta"):
        net = AlignedXception(41, norm_cfg=dict(type="SyncBN", momentum=0.1))
    norms = [m for m in net.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.1)}


def test_initialised_as_the_authors():
    torch.manual_seed(0)
    net = AlignedXception(41)
    net.init_weights()
    weight = net.blocks[-1].convs[2].pointwise_conv.conv.weight
    assert weight.std().item() == pytest.approx(0.09 * 0.88, rel=0.01)
    assert weight.abs().max() <= 0.18


def test_gradients_reach_every_parameter():
    net = AlignedXception(41, out_indices=(0, 3)).train()
    maps = net(torch.rand(2, 3, 33, 33))
    assert [y.shape[1] for y in maps] == [256, 2048]
    sum(y.square().mean() for y in maps).backward()
    assert all(p.grad is not None for p in net.parameters())


def module_of(kind, depthwise_relu=False):
    options = dict(depthwise_relu=depthwise_relu, norm_cfg=dict(type="BN"))
    shortcut, pre_activate = (None, False) if kind == "last" else (kind, True)
    module = XceptionModule(8, (8, 8, 8), shortcut, pre_activate, **options).double()
    module.set_stride_and_rates(2 if shortcut == "conv" else 1, (2, 2, 2))
    return module


def taps_and_output(x, module):
    output, tap = module(x, return_before_stride=True)
    return torch.cat([output, tap[:, :, : output.shape[2], : output.shape[3]]])


@pytest.mark.parametrize("function", [lambda x, module: module(x), taps_and_output])
@pytest.mark.parametrize("depthwise_relu", [False, True])
@pytest.mark.parametrize("kind", ["conv", "sum", "last"])
def test_training_is_that_of_the_plain_form(kind, depthwise_relu, function):
    module, x = module_of(kind, depthwise_relu), torch.randn(2, 8, 9, 8, dtype=torch.float64)
    with use_references():
        plain = run(function, module, x)
    assert_close(run(function, module, x), plain, rtol=1e-9, atol=1e-11)


def test_a_relu_after_every_depthwise_conv_as_in_figure_4():
    module, x = module_of("sum", depthwise_relu=True).eval(), torch.randn(1, 8, 9, 8).double()
    expected = x
    for conv in module.convs:
        depthwise, pointwise = conv.depthwise_conv, conv.pointwise_conv
        expected = depthwise.norm(depthwise.conv(expected.relu())).relu()
        expected = pointwise.norm(pointwise.conv(expected))
    torch.testing.assert_close(module(x), expected + x)
    with torch.device("meta"):
        drawn, released = AlignedXception(41, depthwise_relu=True), AlignedXception(41)
    assert drawn.state_dict().keys() == released.state_dict().keys()
    rectified = [
        [conv.depthwise_conv.with_activation for block in net.blocks for conv in block.convs]
        for net in (drawn, released)
    ]
    assert rectified == [[True] * 39, [False] * 36 + [True] * 3]


def test_a_wrapped_conv_is_called():
    module, seen = module_of("sum"), []

    def call(conv, x):
        seen.append(1)
        return conv(x)

    module.convs[1] = checkpoint_wrapper(module.convs[1], checkpoint_fn=call)
    module(torch.randn(2, 8, 9, 8, dtype=torch.float64)).sum().backward()
    assert seen == [1]


def test_keeps_the_convs_outputs_only():
    module, x = module_of("sum"), torch.randn(2, 8, 32, 32, dtype=torch.float64)
    x.requires_grad_()

    def call(x, module):
        return module(x)

    assert values_kept(call, module, x) == 8 * 7  # two a separable conv, and the input
    with use_references():
        assert values_kept(call, module, x) >= 8 * 12


def test_refuses_weights_of_another_depth(small):
    with torch.device("meta"):
        net = AlignedXception(65)
    with pytest.raises(RuntimeError, match="do not fit this AlignedXception; nothing was loaded"):
        net.load_state_dict(small.state_dict(), strict=False)


def test_other_norms():
    with torch.device("meta"):
        norm = AlignedXception(41, norm_cfg=dict(type="GN", num_groups=4)).stem[0].norm
    assert (type(norm).__name__, norm.eps) == ("GroupNorm", 1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(depth=39), "depth must be one of 41, 65, 71, got 39"),
        (dict(output_stride=64), "output_stride must be one of 2, 4, 8, 16, 32, got 64"),
        (dict(multi_grid=(1, 2)), r"multi_grid must be .* 3 convs.* got \(1, 2\)"),
        (dict(out_indices=(4,)), r"out_indices must be of 0 to 3, got \(4,\)"),
    ],
)
def test_refuses_options(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        AlignedXception(**{"depth": 41, **options})
