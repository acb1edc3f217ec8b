"""upsample_cross_entropy against its plain form and mmseg: value, gradient, accuracy, memory."""

import importlib
import importlib.util

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmseg.models.losses import CrossEntropyLoss, accuracy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from mmseg_papers.ops.upsample_cross_entropy import (
    UpsampleCrossEntropy,
    upsample_cross_entropy,
    upsample_cross_entropy_reference,
)

# The package exports a function of the module's name.
module = importlib.import_module("mmseg_papers.ops.upsample_cross_entropy")

SIZES = [  # logits to labels
    ((4, 6), (32, 48)),
    ((5, 7), (13, 29)),
    ((1, 1), (6, 5)),
    ((6, 5), (1, 1)),
    ((9, 11), (4, 7)),
    ((5, 4), (5, 9)),
]
CLASSES = 5
OPTIONS = [
    dict(),
    dict(reduction="sum"),
    dict(avg_non_ignore=True),
    dict(class_weight=True),
    dict(pixel_weight=True),
    dict(label_smoothing=0.2),
    dict(class_weight=True, pixel_weight=True, label_smoothing=0.1),
    dict(reduction="none"),
    dict(reduction="none", class_weight=True, pixel_weight=True, label_smoothing=0.1),
    dict(ignore_index=2),
]


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of about 30 pixels, so that small maps take several, cut off at the edges."""
    monkeypatch.setattr(module, "CPU_TILE_BYTES", 30 * CLASSES * 8)


def _inputs(in_size, out_size, options=None, dtype=torch.float64, images=2):
    logits = 3 * torch.randn(images, CLASSES, *in_size, dtype=dtype)
    label = torch.randint(0, CLASSES, (images, *out_size))
    label[torch.rand(label.shape) < 0.2] = (options or {}).get("ignore_index", 255)
    options = dict(options or {})
    if options.get("class_weight"):
        options["class_weight"] = torch.rand(CLASSES, dtype=dtype) + 0.5
    if options.get("pixel_weight"):
        options["pixel_weight"] = torch.rand(label.shape, dtype=dtype)
    return logits.requires_grad_(), label, options


def _assert_equal(function, logits, label, options, tolerance=1e-12, **kwargs):
    ours, our_accuracy = function(logits, label, **options)
    plain, plain_accuracy = upsample_cross_entropy_reference(logits, label, **options)
    close = dict(rtol=tolerance, atol=tolerance, **kwargs)
    torch.testing.assert_close(ours, plain, **close)
    torch.testing.assert_close(our_accuracy, plain_accuracy)
    assert our_accuracy.shape == (1,) and not our_accuracy.requires_grad
    upstream = torch.randn_like(plain)
    (our_grad,) = torch.autograd.grad(ours, logits, upstream)
    (plain_grad,) = torch.autograd.grad(plain, logits, upstream)
    torch.testing.assert_close(our_grad, plain_grad, **close)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(("in_size", "out_size"), SIZES)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_sizes_and_layouts(in_size, out_size, align_corners, memory_format, reduction):
    logits, label, _ = _inputs(in_size, out_size)
    logits = logits.detach().contiguous(memory_format=memory_format).requires_grad_()
    options = dict(align_corners=align_corners, reduction=reduction)
    _assert_equal(upsample_cross_entropy, logits, label, options)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("label_dtype", [torch.int64, torch.uint8])
def test_options(options, label_dtype):
    logits, label, options = _inputs((4, 5), (15, 21), options)
    _assert_equal(upsample_cross_entropy, logits, label.to(label_dtype), options)


@pytest.mark.parametrize("options", OPTIONS[:3] + OPTIONS[4:5], ids=str)
def test_equals_mmseg(options):
    logits, label, options = _inputs((4, 5), (15, 21), options)
    loss, acc = upsample_cross_entropy(logits, label, **options)
    y = F.interpolate(logits, label.shape[1:], mode="bilinear", align_corners=False)
    weight = options.pop("pixel_weight", None)
    expected = CrossEntropyLoss(**options)(y, label, weight=weight, ignore_index=255)
    # mmseg casts the weights to float32.
    torch.testing.assert_close(loss, expected, rtol=1e-6 if weight is not None else 1e-12, atol=0)
    torch.testing.assert_close(acc, accuracy(y, label, ignore_index=255))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradcheck(reduction):
    logits, label, options = _inputs((3, 2), (7, 5), dict(class_weight=True, label_smoothing=0.1))
    torch.autograd.gradcheck(
        lambda x: upsample_cross_entropy(x, label, reduction=reduction, **options)[0], logits
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_half_precision_sums_in_float32(dtype, reduction):
    logits, label, _ = _inputs((4, 5), (31, 40), dtype=dtype)
    loss, _ = upsample_cross_entropy(logits, label, reduction=reduction)
    assert loss.dtype == torch.float32
    wide = logits.detach().double().requires_grad_()
    expected, _ = upsample_cross_entropy_reference(wide, label, reduction=reduction)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    loss.sum().backward()
    expected.sum().backward()
    assert logits.grad.dtype == dtype
    # Rounded once, at the end.
    bound = torch.finfo(dtype).eps
    torch.testing.assert_close(logits.grad.double(), wide.grad, rtol=bound, atol=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_autocast_does_not_reach_inside(reduction):
    logits, label, _ = _inputs((4, 5), (16, 20), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = upsample_cross_entropy(logits, label, reduction=reduction)
        (grad,) = torch.autograd.grad(loss.sum(), logits)
    plain, _ = upsample_cross_entropy_reference(logits, label, reduction=reduction)
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-6)
    (expected,) = torch.autograd.grad(plain.sum(), logits)
    torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_large_logits_do_not_overflow(offset):
    logits, label, _ = _inputs((4, 5), (16, 20), dtype=torch.float32)
    logits = (300 * logits.detach() + offset).requires_grad_()
    for reduction in ("sum", "none"):
        loss, _ = upsample_cross_entropy(logits, label, reduction=reduction)
        plain, _ = upsample_cross_entropy_reference(logits, label, reduction=reduction)
        torch.testing.assert_close(loss, plain, rtol=1e-4, atol=1e-2)
        assert torch.autograd.grad(loss.sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("avg_non_ignore", [False, True])
@pytest.mark.parametrize("class_weight", [None, torch.arange(1.0, CLASSES + 1)])
def test_all_pixels_ignored(reduction, avg_non_ignore, class_weight):
    logits, label, _ = _inputs((4, 5), (8, 9), dtype=torch.float32)
    loss, acc = upsample_cross_entropy(
        logits,
        label.fill_(255),
        reduction=reduction,
        avg_non_ignore=avg_non_ignore,
        class_weight=class_weight,
    )
    assert (loss == 0).all() and acc.item() == 100
    assert (torch.autograd.grad(loss.sum(), logits)[0] == 0).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_empty_batch(reduction):
    logits, label, _ = _inputs((4, 5), (8, 9), images=0)
    _assert_equal(upsample_cross_entropy, logits, label, dict(reduction=reduction))
    assert upsample_cross_entropy(logits, label)[1].item() == 0


def test_ties_count_as_correct():
    label = torch.arange(CLASSES).reshape(1, 1, CLASSES)
    assert upsample_cross_entropy(torch.zeros(1, CLASSES, 1, 2), label)[1].item() == 100


def test_without_gradient_makes_none():
    logits, label, _ = _inputs((4, 5), (8, 9))
    with torch.no_grad():
        assert not upsample_cross_entropy(logits, label)[0].requires_grad
    assert not upsample_cross_entropy(logits.detach(), label)[0].requires_grad


def test_second_derivative_is_refused():
    logits, label, _ = _inputs((4, 5), (8, 9))
    loss, _ = upsample_cross_entropy(logits, label)
    (grad,) = torch.autograd.grad(loss * loss, logits, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (dict(logits=torch.rand(5, 4, 4)), ValueError, r"logits must be \(N, K, h, w\)"),
        (dict(logits=torch.ones(2, 5, 4, 4).long()), TypeError, "floating point, got torch.int64"),
        (dict(label=torch.zeros(3, 8, 8).long()), ValueError, r"N = 2 .*got \(3, 8, 8\)"),
        (dict(label=torch.zeros(2, 8, 8).int()), TypeError, "int64 or uint8, got torch.int32"),
        (dict(label=torch.full((2, 8, 8), 7)), ValueError, "holds 7, .* of the 5 classes"),
        (dict(label=torch.full((2, 8, 8), -1)), ValueError, "holds -1, .* ignore_index = 255"),
        (dict(class_weight=torch.ones(4)), ValueError, r"class_weight must be \(5,\).*got \(4,\)"),
        (dict(pixel_weight=torch.ones(2, 8, 9)), ValueError, r"\(2, 8, 8\), got \(2, 8, 9\)"),
        (dict(class_weight=torch.ones(5, device="meta")), ValueError, "class_weight is on meta"),
        (dict(label_smoothing=1.5), ValueError, r"in \[0, 1\], got 1.5"),
        (dict(reduction="max"), ValueError, "'none', 'sum' or 'mean', got 'max'"),
    ],
)
def test_refuses(changes, error, message):
    arguments = dict(logits=torch.rand(2, 5, 4, 4), label=torch.zeros(2, 8, 8).long())
    with pytest.raises(error, match=message):
        upsample_cross_entropy(**(arguments | changes))


class _Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(out)[0]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_never_holds_the_resized_logits(reduction, monkeypatch):
    monkeypatch.setattr(module, "CPU_TILE_BYTES", 64 << 10)
    # Its own custom op would hide what happens inside.
    monkeypatch.setattr(module, "_cross_entropy_forward", module._forward)
    monkeypatch.setattr(module, "_cross_entropy_backward", module._backward)
    largest = {}
    for function in (upsample_cross_entropy, upsample_cross_entropy_reference):
        logits = torch.rand(1, 50, 8, 8, requires_grad=True)
        with _Largest() as mode:
            loss, _ = function(logits, torch.zeros(1, 64, 64).long(), reduction=reduction)
            loss.sum().backward()
        largest[function] = mode.numel
    assert largest[upsample_cross_entropy_reference] >= 50 * 64 * 64
    assert largest[upsample_cross_entropy] <= (64 << 10) / 4


@pytest.mark.torch_2_5
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_without_a_graph_break(backend, reduction):
    logits, label, options = _inputs((4, 5), (9, 14), dict(class_weight=True))
    options["reduction"] = reduction
    compiled = torch.compile(upsample_cross_entropy, backend=backend, fullgraph=True)
    _assert_equal(compiled, logits, label, options)


@pytest.mark.torch_2_7
def test_export_holds_no_custom_operation():
    class Loss(torch.nn.Module):
        def forward(self, logits, label):
            return upsample_cross_entropy(logits, label)

    logits, label, _ = _inputs((4, 5), (9, 14))
    program = torch.export.export(Loss(), (logits.detach(), label))
    targets = [str(node.target) for node in program.graph.nodes]
    assert not any("mmseg_papers" in target for target in targets)
    torch.testing.assert_close(
        program.module()(logits, label), upsample_cross_entropy_reference(logits, label)
    )


@pytest.mark.torch_2_5
def test_registration_is_sound():
    logits, label, _ = _inputs((3, 3), (5, 6), dtype=torch.float32)
    logits = logits.detach()
    for per_pixel in (False, True):
        for with_grad in (False, True):
            options = (255, 0.1, False, per_pixel, with_grad)
            torch.library.opcheck(
                module._cross_entropy_forward, (logits, label, None, None, *options)
            )
    upstream = torch.rand(label.shape)
    torch.library.opcheck(
        module._cross_entropy_backward, (upstream, logits, label, upstream, None, 255, 0.1, False)
    )


@pytest.fixture
def triton_kernels(monkeypatch):
    """The Triton path for CPU tensors, in Triton's interpreter, with blocks of a few values."""
    from mmseg_papers.ops import upsample_cross_entropy_triton as kernels

    monkeypatch.setattr(kernels, "FORWARD_COLUMNS", 4)
    monkeypatch.setattr(kernels, "BACKWARD_COLUMNS", 2)
    monkeypatch.setattr(kernels, "BACKWARD_CLASSES", 4)
    monkeypatch.setattr(module, "runs_triton", lambda logits: True)


@pytest.mark.triton_interpreter
@pytest.mark.usefixtures("triton_kernels")
@pytest.mark.parametrize(("in_size", "out_size"), [((2, 3), (3, 5)), ((3, 2), (1, 1))])
@pytest.mark.parametrize(
    ("align_corners", "memory_format"),
    [(False, torch.contiguous_format), (True, torch.channels_last)],
)
def test_kernels_sizes_and_layouts(in_size, out_size, align_corners, memory_format):
    logits, label, _ = _inputs(in_size, out_size, images=1)
    logits = logits.detach().contiguous(memory_format=memory_format).requires_grad_()
    _assert_equal(upsample_cross_entropy, logits, label, dict(align_corners=align_corners))


@pytest.mark.triton_interpreter
@pytest.mark.usefixtures("triton_kernels")
@pytest.mark.parametrize(
    "options",
    [option for option in OPTIONS if not option.keys() & {"avg_non_ignore", "ignore_index"}],
    ids=str,
)
def test_kernels_options(options):
    logits, label, options = _inputs((1, 2), (2, 5), options, images=1)
    _assert_equal(upsample_cross_entropy, logits, label.to(torch.uint8), options)


@pytest.mark.triton_interpreter
@pytest.mark.usefixtures("triton_kernels")
def test_kernels_down_sampling_half_precision_and_empty_batch():
    logits, label, _ = _inputs((5, 7), (2, 3), images=1)
    _assert_equal(upsample_cross_entropy, logits, label, {})
    logits, label, _ = _inputs((2, 2), (3, 5), images=1, dtype=torch.bfloat16)
    _assert_equal(upsample_cross_entropy, logits, label, {}, 1e-2)
    logits, label, _ = _inputs((2, 2), (3, 5), images=0)
    _assert_equal(upsample_cross_entropy, logits, label, {})


@pytest.mark.triton_interpreter
@pytest.mark.usefixtures("triton_kernels")
def test_kernels_make_nan_of_a_label_out_of_range():
    logits, label, _ = _inputs((2, 2), (2, 3), images=1)
    label[0, 1, 1] = CLASSES
    loss, _ = upsample_cross_entropy(logits, label, reduction="none")
    assert loss.isnan().nonzero().tolist() == [[0, 1, 1]]


@pytest.mark.cuda
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_cuda(options, memory_format):
    logits, label, options = _inputs((16, 24), (61, 95), options, dtype=torch.float32)
    logits = logits.detach().cuda().contiguous(memory_format=memory_format).requires_grad_()
    options = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    _assert_equal(upsample_cross_entropy, logits, label.cuda(), options, 1e-4)
    grads = [
        torch.autograd.grad(upsample_cross_entropy(logits, label.cuda())[0], logits)[0]
        for _ in range(2)
    ]
    assert torch.equal(*grads)


def test_module_form():
    logits, label, _ = _inputs((4, 5), (7, 9))
    weights = [0.5 + 0.1 * k for k in range(CLASSES)]
    layer = MODELS.build(
        dict(type="UpsampleCrossEntropy", class_weight=weights, align_corners=True)
    ).double()
    expected = upsample_cross_entropy_reference(
        logits, label, class_weight=layer.class_weight, align_corners=True
    )
    for a, b in zip(layer(logits, label), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert "reduction='mean', avg_non_ignore=False, align_corners=True" in repr(layer)


def test_module_form_refuses_options():
    with pytest.raises(ValueError, match="'none', 'sum' or 'mean', got 'max'"):
        UpsampleCrossEntropy(reduction="max")
    with pytest.raises(TypeError, match="pixel_weight"):
        UpsampleCrossEntropy(pixel_weight=1)
