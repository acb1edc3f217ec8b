"""norm_relu_conv1x1 against its plain form, whose pool comes last."""

import copy
import importlib

import pytest
import torch
from torch import nn

from mmseg_papers.ops import norm_relu_conv1x1, norm_relu_conv1x1_reference

LAYOUTS = [torch.contiguous_format, torch.channels_last]
#: N, C, H, W; odd sizes lose a row and a column to the pool.
SIZES = [(2, 6, 7, 9), (1, 6, 2, 3), (3, 6, 8, 4)]


def make(bias=False, dtype=torch.float64):
    """A norm as after some training, and a conv."""
    norm, conv = nn.BatchNorm2d(6, momentum=0.3), nn.Conv2d(6, 4, 1, bias=bias)
    for tensor in (*norm.parameters(), norm.running_mean, norm.running_var):
        nn.init.uniform_(tensor, 0.5, 1.5)
    return nn.ModuleList([norm, conv]).to(dtype)


def run(function, parts, x, pool):
    """Result, gradients of the input and the weights, and the norm's buffers afterwards."""
    norm, conv = copy.deepcopy(parts)
    x = x.clone().requires_grad_()
    y = function(x, norm, conv, pool)
    torch.manual_seed(1)
    upstream = torch.randn(y.shape, dtype=y.dtype).to(y.device)
    grads = torch.autograd.grad(y, [x, *norm.parameters(), *conv.parameters()], upstream)
    return [y.detach(), *grads, *norm.buffers()]


def assert_close(ours, plain, **tolerance):
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
def test_value_gradient_and_statistics(size, layout, pool, training, device, monkeypatch):
    module = importlib.import_module("mmseg_papers.ops.norm_relu_conv1x1")
    parts = make(bias=pool).train(training).to(device)
    x = torch.randn(size, dtype=torch.float64).to(device, memory_format=layout)
    plain = run(norm_relu_conv1x1_reference, parts, x, pool)
    for strip in (1, module.STRIP_BYTES):  # a row at a time, the whole map at once
        monkeypatch.setattr(module, "STRIP_BYTES", strip)
        ours = run(norm_relu_conv1x1, parts, x, pool)
        assert_close(ours, plain, rtol=1e-10, atol=1e-12)
        assert ours[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("pool", [False, True])
def test_keeps_its_input_and_no_activation(pool):
    norm, conv = make()
    x = torch.randn(1, 6, 16, 16, dtype=torch.float64, requires_grad=True)
    kept = {}

    def pack(t):
        kept[t.untyped_storage().data_ptr()] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        norm_relu_conv1x1(x.to(memory_format=torch.channels_last), norm, conv, pool)
    maps = [t for t in kept.values() if t.dim() == 4 and t.numel() > conv.weight.numel()]
    assert [t.numel() for t in maps] == [x.numel()]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("pool", [False, True])
def test_the_result_may_be_changed_in_place(pool, training):
    parts, x = make().train(training), torch.randn(2, 6, 7, 9, dtype=torch.float64)
    expected = run(lambda *args: norm_relu_conv1x1(*args).relu(), parts, x, pool)
    assert_close(run(lambda *args: norm_relu_conv1x1(*args).relu_(), parts, x, pool), expected)


def test_autocast():
    parts = make(dtype=torch.float32)
    x = torch.randn(2, 6, 7, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = run(norm_relu_conv1x1, parts, x, True)
    plain = run(norm_relu_conv1x1_reference, parts, x, True)
    assert ours[0].dtype == torch.bfloat16
    torch.testing.assert_close(ours[0].float(), plain[0], rtol=0.05, atol=0.05)
    torch.testing.assert_close(ours[-2], plain[-2], rtol=0.01, atol=0.01)


def test_other_norms_and_empty_batches_take_the_plain_form():
    norm, conv = make(dtype=torch.float32)
    x = torch.randn(0, 6, 4, 4)
    assert norm_relu_conv1x1(x, norm.eval(), conv, True).shape == (0, 4, 2, 2)
    x, norm = torch.randn(2, 6, 4, 4), nn.GroupNorm(3, 6)
    plain = norm_relu_conv1x1_reference(x, norm, conv)
    assert torch.equal(norm_relu_conv1x1(x, norm, conv), plain)


@pytest.mark.parametrize("pool", [False, True])
def test_other_convs_take_the_plain_form(pool):
    norm, _ = make()
    conv = nn.Conv2d(6, 4, 1, stride=2, padding=1, groups=2).double()
    x = torch.randn(2, 6, 7, 9, dtype=torch.float64)
    parts = nn.ModuleList([norm, conv])
    ours, plain = (run(f, parts, x, pool) for f in (norm_relu_conv1x1, norm_relu_conv1x1_reference))
    assert_close(ours, plain, rtol=0, atol=0)


def test_a_map_smaller_than_the_pool_is_refused_as_by_the_plain_form():
    with pytest.raises(RuntimeError, match="Output size is too small"):
        norm_relu_conv1x1(torch.randn(2, 6, 1, 4, dtype=torch.float64), *make(), pool=True)


@pytest.mark.parametrize("part", [0, 1])
def test_hooks_take_the_plain_form(part):
    parts, seen = make(), []
    parts[part].register_forward_hook(lambda *_: seen.append(part))
    norm_relu_conv1x1(torch.randn(2, 6, 4, 4, dtype=torch.float64), *parts)
    assert seen == [part]


def test_refuses_a_batch_without_a_variance():
    with pytest.raises(ValueError, match=r"more than one value a channel .* larger crop_size"):
        norm_relu_conv1x1(torch.rand(1, 6, 1, 1, dtype=torch.float64), *make())
