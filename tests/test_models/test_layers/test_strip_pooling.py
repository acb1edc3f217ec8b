"""Strip and mixed pooling against plain forms of the paper's; options, counts, refusals."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import build_plugin_layer
from mmengine.registry import DefaultScope

from mmseg_papers.models.layers import MixedPoolingModule, StripPoolingModule

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def stretched(strip, size):
    return F.interpolate(strip, size, mode="bilinear", align_corners=True)


def plain_strip_pooling(spm, x):
    """As published: adaptive pools, interpolated strips."""
    size = x.shape[2:]
    row = spm.bn1(spm.conv1(F.adaptive_avg_pool2d(x, (None, 1))))
    column = spm.bn2(spm.conv2(F.adaptive_avg_pool2d(x, (1, None))))
    total = stretched(row, size) + stretched(column, size)
    return x * spm.conv3(F.relu(total)).sigmoid()


def plain_mixed_pooling(mpm, x):
    """As published: adaptive pools, every pooled map interpolated."""
    size = x.shape[2:]
    x1, x2 = mpm.reduce_short(x), mpm.reduce_long(x)
    short = mpm.full_conv(x1)
    for side, conv in zip(mpm.bins, mpm.bin_convs, strict=True):
        pooled = conv(F.adaptive_avg_pool2d(x1, side))
        short = short + F.interpolate(
            pooled, size, mode="bilinear", align_corners=mpm.align_corners
        )
    row = stretched(mpm.row_conv(F.adaptive_avg_pool2d(x2, (None, 1))), size)
    column = stretched(mpm.column_conv(F.adaptive_avg_pool2d(x2, (1, None))), size)
    branches = [mpm.short_conv(F.relu(short)), mpm.long_conv(F.relu(row + column))]
    return F.relu(x + mpm.project(torch.cat(branches, 1)))


@pytest.mark.parametrize(
    ("make", "plain"),
    [
        (lambda: StripPoolingModule(8), plain_strip_pooling),
        (lambda: MixedPoolingModule(8, (5, 3)), plain_mixed_pooling),
        (lambda: MixedPoolingModule(8, (4,), align_corners=False), plain_mixed_pooling),
    ],
)
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("size", [(9, 14), (3, 2), (1, 5)])
def test_value_gradients_and_statistics(make, plain, size, memory_format):
    ours = make().double().train().to(memory_format=memory_format)
    theirs = copy.deepcopy(ours)
    x = torch.randn(2, 8, *size, dtype=torch.float64).to(memory_format=memory_format)
    x.requires_grad_()
    y, expected = ours(x), plain(theirs, x)
    torch.testing.assert_close(y, expected, rtol=1e-11, atol=1e-11)
    assert y.is_contiguous(memory_format=memory_format)
    upstream = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(y, [x, *ours.parameters()], upstream),
        torch.autograd.grad(expected, [x, *theirs.parameters()], upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_strip_pooling_multiplies_by_its_gate():
    spm, x = StripPoolingModule(6).eval(), torch.randn(1, 6, 5, 7)
    with torch.no_grad():
        gate = spm.gate(x)
        torch.testing.assert_close(spm(x), x * gate)
    assert gate.min() > 0
    assert gate.max() < 1


@pytest.mark.parametrize("channels", [8, 64])
def test_parameter_counts(channels):
    """7 C^2 + 5 C of the one; the other's 4.40 M at 1024 channels."""
    spm = StripPoolingModule(channels)
    assert sum(p.numel() for p in spm.parameters()) == 7 * channels**2 + 5 * channels
    with torch.device("meta"):
        mpm = MixedPoolingModule(1024)
    assert round(sum(p.numel() for p in mpm.parameters()) / 1e6, 2) == 4.40


def test_is_a_plugin_layer_in_any_scope():
    for scope in ("mmseg", "mmengine"):
        with DefaultScope.overwrite_default_scope(scope):
            name, layer = build_plugin_layer(dict(type="StripPoolingModule"), in_channels=4)
        assert name == "spm"
        assert isinstance(layer, StripPoolingModule)


def test_initialisation_is_the_authors():
    torch.manual_seed(0)
    spm = StripPoolingModule(64)
    spm.init_weights()
    assert spm.conv1.weight.std().item() == pytest.approx((2 / (3 * 64)) ** 0.5, rel=0.05)
    assert spm.conv3.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)
    assert 0 < spm.conv3.bias.abs().max() <= 1 / 8
    assert torch.equal(spm.bn1.weight, torch.ones(64))
    mpm = MixedPoolingModule(64)
    mpm.init_weights()
    bound = (16 * 9) ** -0.5  # PyTorch's uniform initialisation
    assert 0.9 * bound < mpm.full_conv.conv.weight.abs().max() <= bound


@pytest.mark.parametrize("make", [StripPoolingModule, MixedPoolingModule])
def test_copies_and_pickles(make):
    module, x = make(8).eval(), torch.randn(1, 8, 5, 6)
    with torch.no_grad():
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            torch.testing.assert_close(other(x), module(x))


@pytest.mark.torch_2_4
@pytest.mark.parametrize("make", [StripPoolingModule, MixedPoolingModule])
def test_compiles_without_a_graph_break(make):
    torch._dynamo.reset()
    module, x = make(8).eval(), torch.randn(1, 8, 5, 6)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), module(x))


@pytest.mark.torch_2_7
@pytest.mark.parametrize("make", [StripPoolingModule, MixedPoolingModule])
def test_exports_stock_operators_only(make):
    module, x = make(8).eval(), torch.randn(1, 8, 5, 6)
    with torch.no_grad():
        program = torch.export.export(module, (x,))
        torch.testing.assert_close(program.module()(x), module(x))
    targets = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert all(t.startswith("aten.") for t in targets)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixedPoolingModule(30), "multiple of 4, got 30"),
        (lambda: MixedPoolingModule(32, ()), r"bins must be .* got \(\)"),
        (lambda: MixedPoolingModule(32, (20, 0)), r"bins must be .* got \(20, 0\)"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
