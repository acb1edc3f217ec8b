"""upsample_add against its plain form: value, gradient, memory, compilation, kernels, module."""

import importlib

import pytest
import torch
from mmcv.cnn import build_upsample_layer
from mmengine.registry import MODELS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from mmseg_papers.ops.upsample_add import UpsampleAdd, upsample_add, upsample_add_reference

MODES = [
    dict(mode="bilinear", align_corners=False),
    dict(mode="bilinear", align_corners=True),
    dict(mode="nearest"),
]
SIZES = [
    ([(8, 12), (4, 6), (2, 3)], None),
    ([(7, 5), (7, 5), (1, 1)], None),
    ([(3, 4), (9, 2), (5, 5)], (6, 11)),  # up and down
    ([(4, 3), (8, 9)], (1, 1)),
    ([(5, 6)], None),
    ([(5, 6)], (11, 13)),
]


def module():
    return importlib.import_module("mmseg_papers.ops.upsample_add")


def maps(sizes, memory_format=torch.contiguous_format, channels=3, dtype=torch.float64):
    torch.manual_seed(0)
    xs = [torch.randn(2, channels, *size, dtype=dtype) for size in sizes]
    return [x.to(memory_format=memory_format).requires_grad_() for x in xs]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("sizes", "size"), SIZES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("block_bytes", [1, 1000, 4 << 20])
def test_value_and_gradient(sizes, size, mode, relu, memory_format, block_bytes, monkeypatch):
    monkeypatch.setattr(module(), "BLOCK_BYTES", block_bytes)
    xs = maps(sizes, memory_format)
    ours = upsample_add(xs, size, relu=relu, **mode)
    plain = upsample_add_reference(xs, size, relu=relu, **mode)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    assert ours.is_contiguous(memory_format=memory_format)
    upstream = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(ours, xs, upstream),
        torch.autograd.grad(plain, xs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_gradcheck(mode):
    xs = maps([(3, 4), (2, 2), (5, 3)], channels=1)
    assert torch.autograd.gradcheck(lambda *t: upsample_add(t, **mode), xs)


def test_maps_without_a_gradient_get_none():
    xs = maps([(4, 4), (2, 2), (2, 2)])
    xs[1].requires_grad_(False)
    upsample_add(xs).sum().backward()
    assert xs[1].grad is None
    assert xs[0].grad is not None
    assert xs[2].grad is not None
    assert not upsample_add([x.detach() for x in xs]).requires_grad


def test_one_map_of_the_same_size_is_copied():
    x = torch.randn(1, 2, 3, 3)
    y = upsample_add([x])
    assert torch.equal(x, y)
    assert x.data_ptr() != y.data_ptr()


def test_the_inputs_stay_as_they_were():
    xs = [x.detach() for x in maps([(4, 4), (2, 2), (4, 4)])]
    before = [x.clone() for x in xs]
    upsample_add(xs, relu=True)
    assert all(map(torch.equal, xs, before))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_half_precision_rounds_once(dtype, mode):
    xs = maps([(6, 8), (3, 4), (2, 2)], dtype=dtype)
    ours = upsample_add(xs, relu=True, **mode)
    exact = upsample_add_reference([x.float() for x in xs], relu=True, **mode)
    expected = exact.to(dtype)  # a sum at the edge between two values may round to either
    torch.testing.assert_close(ours, expected, rtol=torch.finfo(dtype).eps, atol=1e-6)
    assert (ours == expected).float().mean() > 0.95
    upstream = torch.randn_like(exact).to(dtype)
    for a, b in zip(
        torch.autograd.grad(ours, xs, upstream),
        torch.autograd.grad(exact, xs, upstream.float()),
        strict=True,
    ):
        assert a.dtype == dtype
        torch.testing.assert_close(a, b)


def test_empty_batch():
    xs = [torch.rand(0, 2, 4, 4, requires_grad=True), torch.rand(0, 2, 2, 2, requires_grad=True)]
    y = upsample_add(xs, (6, 5), relu=True)
    assert y.shape == (0, 2, 6, 5)
    y.sum().backward()
    assert xs[1].grad.shape == (0, 2, 2, 2)


class LargeResults(TorchDispatchMode):
    """Counts the new tensors of at least ``numel`` elements."""

    def __init__(self, numel):
        super().__init__()
        self.numel, self.storages, self.kept = numel, set(), []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in tree_flatten(out)[0]:
            if torch.is_tensor(t) and t.untyped_storage().nbytes() >= self.numel * t.itemsize:
                self.storages.add(t.untyped_storage().data_ptr())
                self.kept.append(t)  # so that no address is used twice
        return out


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mode", MODES)
def test_only_the_sum_is_full_size(mode, memory_format, monkeypatch):
    monkeypatch.setattr(module(), "BLOCK_BYTES", 1 << 14)
    xs = [x.detach() for x in maps([(32, 32), (16, 16), (8, 8)], memory_format, channels=16)]
    arguments = (mode["mode"], mode.get("align_corners", False), True)
    with LargeResults(2 * 16 * 64 * 64 // 2) as ours:
        module()._forward(xs, [64, 64], *arguments)
    assert len(ours.storages) == 1
    with LargeResults(2 * 16 * 64 * 64 // 2) as plain:
        upsample_add_reference(xs, (64, 64), relu=True, **mode)
    assert len(plain.storages) > 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(xs=[]), ValueError, "at least one map"),
        (dict(xs=torch.rand(1, 2, 3, 3)), ValueError, "a sequence of"),
        (dict(xs=[torch.rand(2, 3, 3)]), ValueError, r"xs\[0\] is \(2, 3, 3\)"),
        (
            dict(xs=[torch.rand(1, 2, 3, 3), torch.rand(1, 3, 3, 3)]),
            ValueError,
            r"xs\[1\] is \(1, 3, 3, 3\) and xs\[0\] \(1, 2, 3, 3\)",
        ),
        (dict(xs=[torch.rand(1, 2, 3, 0)]), ValueError, "at least 1"),
        (
            dict(xs=[torch.rand(1, 2, 3, 3), torch.rand(1, 2, 3, 3).double()]),
            TypeError,
            r"xs\[1\] is torch\.float64",
        ),
        (
            dict(xs=[torch.ones(1, 2, 3, 3, dtype=torch.int32)]),
            TypeError,
            r"xs\[0\] must be floating .* torch\.int32",
        ),
        (dict(size=(0, 3)), ValueError, r"size must be .* got \(0, 3\)"),
        (dict(mode="bicubic"), ValueError, "'bilinear' or 'nearest', got 'bicubic'"),
        (dict(mode="nearest", align_corners=True), ValueError, "align_corners is an option of"),
    ],
)
def test_refusals(change, error, message):
    with pytest.raises(error, match=message):
        upsample_add(**{"xs": [torch.rand(1, 2, 3, 3)], **change})


@pytest.mark.parametrize("mode", MODES)
def test_module(mode):
    layer = MODELS.build(dict(type="UpsampleAdd", relu=True, **mode))
    xs = maps([(6, 4), (3, 2)])
    torch.testing.assert_close(layer(xs), upsample_add_reference(xs, relu=True, **mode))
    torch.testing.assert_close(
        layer(xs, (5, 7)), upsample_add_reference(xs, (5, 7), relu=True, **mode)
    )


def test_mmcv_builds_it_as_a_resize_of_one_map():
    layer = build_upsample_layer(dict(type="UpsampleAdd", mode="nearest", scale_factor=2))
    plain = build_upsample_layer(dict(type="nearest", scale_factor=2))
    assert isinstance(layer, UpsampleAdd)
    x = torch.randn(1, 2, 3, 5)
    assert torch.equal(layer(x), plain(x))
    assert layer([x, x]).shape == (1, 2, 6, 10)


def test_module_refuses_an_unknown_mode():
    with pytest.raises(ValueError, match="got 'cubic'"):
        UpsampleAdd(mode="cubic")


@pytest.mark.torch_2_4
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_compiles_without_a_graph_break(memory_format):
    torch._dynamo.reset()
    xs = maps([(6, 4), (3, 2), (6, 4)], memory_format)
    compiled = torch.compile(UpsampleAdd(relu=True), fullgraph=True, backend="aot_eager")
    ours, plain = compiled(xs), upsample_add_reference(xs, relu=True)
    torch.testing.assert_close(ours, plain)
    upstream = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(ours, xs, upstream),
        torch.autograd.grad(plain, xs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.torch_2_5
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_operators_are_registered_as_torch_wants(mode, memory_format):
    arguments = (mode["mode"], mode.get("align_corners", False))
    xs = maps([(4, 4), (2, 2)], memory_format)
    torch.library.opcheck(torch.ops.mmseg_papers.upsample_add, (xs, [4, 4], *arguments, True))
    torch.library.opcheck(
        torch.ops.mmseg_papers.resize_backward, (xs[0].detach(), [2, 1], [3, 2], *arguments)
    )


@pytest.mark.torch_2_7
def test_an_exported_program_holds_stock_operators_only():
    xs = [x.detach() for x in maps([(6, 4), (3, 2)])]
    program = torch.export.export(UpsampleAdd(relu=True), (xs,))
    targets = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert targets
    assert all(t.startswith("aten.") for t in targets)
    torch.testing.assert_close(program.module()(xs), upsample_add(xs, relu=True))


@pytest.mark.triton_interpreter
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("sizes", "size"),
    [
        *SIZES[1:],
        ([(1, 3), (6, 5)], (25, 7)),
        ([(2, 3), (1, 1), (4, 6), (3, 3), (2, 2), (5, 1)], (4, 6)),
    ],
)
def test_kernels_in_the_interpreter(sizes, size, mode, memory_format):
    kernels = importlib.import_module("mmseg_papers.ops.upsample_add_triton")
    xs = [x.detach() for x in maps(sizes, memory_format, channels=2)]
    arguments = (mode["mode"], mode.get("align_corners", False))
    plain = upsample_add_reference(xs, size, relu=True, **mode)
    out = torch.full_like(plain, 99, memory_format=torch.preserve_format)
    kernels.upsample_add_triton(xs, *arguments, True, out)
    torch.testing.assert_close(out, plain, rtol=1e-12, atol=1e-12)
    grad = torch.randn_like(plain)
    out = torch.full_like(xs[-1], 99)
    kernels.resize_backward_triton(grad, *arguments, out)
    height, width = xs[-1].shape[2:]
    (expected,) = module()._resize_backward(grad, [height], [width], *arguments)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.triton_interpreter
def test_kernels_accumulate_half_precision_in_float32():
    kernels = importlib.import_module("mmseg_papers.ops.upsample_add_triton")
    xs = [x.detach() for x in maps([(4, 4), (2, 2), (3, 3), (1, 1), (2, 4)], dtype=torch.float16)]
    out = torch.empty_like(xs[0])
    kernels.upsample_add_triton(xs, "bilinear", False, False, out)
    expected = upsample_add_reference([x.float() for x in xs]).half()
    torch.testing.assert_close(out, expected, rtol=2**-10, atol=1e-6)
    assert (out == expected).float().mean() > 0.95


@pytest.mark.cuda
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("sizes", "size"), SIZES)
def test_cuda(sizes, size, mode, relu, memory_format):
    xs = [x.detach().cuda().requires_grad_() for x in maps(sizes, memory_format)]
    ours = upsample_add(xs, size, relu=relu, **mode)
    plain = upsample_add_reference(xs, size, relu=relu, **mode)
    torch.testing.assert_close(ours, plain)
    upstream = torch.randn_like(plain)
    gradients = torch.autograd.grad(ours, xs, upstream, retain_graph=True)
    for a, b in zip(gradients, torch.autograd.grad(plain, xs, upstream), strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(gradients, torch.autograd.grad(ours, xs, upstream), strict=True):
        assert torch.equal(a, b)  # deterministic
