"""use_references and forward-mode differentiation: every operation computes its plain form."""

import pytest
import torch
from mmseg.models.backbones.resnet import BasicBlock
from torch import nn
from torch.autograd.function import BackwardCFunction
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_papers import ops

LABEL = torch.tensor([[0, 0, 1, 2, 1, 0]])
PIXEL_LABEL = torch.arange(35).reshape(1, 5, 7) % 3


class _DenseLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = _norm(3), _norm(4)
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 3, padding=1)
        self.dropout = nn.Dropout2d(0)

    def forward(self, x):
        x = self.conv1(self.norm1(x).relu())
        return self.dropout(self.conv2(self.norm2(x).relu()))


def _norm(channels):
    norm = nn.BatchNorm2d(channels).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        nn.init.uniform_(tensor, 0.5, 1.5)
    return norm


PRIOR = (1, 3, 2, 3), (6, 3, 1, 1), (6,), (6,)
PYRAMID = (1, 4, 16, 17), (1, 48, 4, 5)
#: How each public function is called, and the shapes of the tensors that are drawn for it.
CALLS = {
    "adaptive_means": (lambda f, x: f(x, (2, 3)), [(1, 3, 5, 7)]),
    "affinity_loss": (lambda f, x: f(x, LABEL, clamped_bce=True), [(1, 6, 2, 3)]),
    "affinity_sums": (lambda f, x: f(x, LABEL), [(1, 6, 2, 3)]),
    "affinity_terms": (lambda f, x: f(x.abs(), LABEL), [(4, 1, 6)]),
    "bin_rows": (lambda f, x: f(x, 2), [(1, 3, 5)]),
    "chained_pooling1x1": (lambda f, x, w: f(x, [w, w]), [(1, 3, 6, 7), (3, 3, 1, 1)]),
    "context_prior": (lambda f, *tensors: f(*tensors), PRIOR),
    "context_prior_and_sums": (lambda f, *tensors: f(*tensors, LABEL)[:2], PRIOR),
    "conv1x1_of_upsampled_concat": (
        lambda f, x, y, w: f([x, y], w),
        [*PYRAMID, (3, 52, 1, 1)],
    ),
    "conv1x1_pair": (lambda f, *tensors: f(*tensors), [(1, 3, 6, 7), (4, 3, 1, 1), (2, 4, 1, 1)]),
    "conv3x3_of_upsampled_concat": (
        lambda f, x, y, w: f([x, y], w),
        [*PYRAMID, (3, 52, 3, 3)],
    ),
    "conv_norm_relu": (
        lambda f, x: f(x, nn.Conv2d(3, 4, 3, bias=False), _norm(4)),
        [(1, 3, 6, 7)],
    ),
    "conv_of_constant_concat": (
        lambda f, c, x, w: f(c, [x], w),
        [(1, 2, 1, 1), (1, 3, 6, 7), (4, 5, 3, 3)],
    ),
    "dense_block": (lambda f, x: f(x, [_DenseLayer()]), [(1, 3, 4, 5)]),
    "feature_affinity": (lambda f, *tensors: f(*tensors), [(1, 3, 4, 5), (1, 2, 4, 5)]),
    "gate_rows": (lambda f, *tensors: f(*tensors, with_mean=True), [(1, 3, 4, 5), (1, 3, 4)]),
    "gather_context": (lambda f, *tensors: f(*tensors), [(1, 3, 2, 3), (1, 6, 2, 3)]),
    "max_pool5x5": (lambda f, x: f(x), [(1, 3, 6, 7)]),
    "norm_relu_conv1x1": (
        lambda f, x: f(x, _norm(3), nn.Conv2d(3, 2, 1), pool=True),
        [(1, 3, 6, 7)],
    ),
    "pool_rows": (lambda f, x: f(x, 2), [(1, 3, 5, 7)]),
    "pool_width": (lambda f, x: f(x), [(1, 3, 5, 7)]),
    "residual_blocks": (lambda f, x: f(x, [BasicBlock(3, 3).eval()]), [(1, 3, 5, 6)]),
    "resize_bicubic": (lambda f, x: f(x, (9, 11)), [(1, 3, 5, 6)]),
    "strip_gate": (
        lambda f, *tensors: f(*tensors),
        [(1, 3, 2, 4), (1, 2, 2, 1), (1, 2, 1, 4), (3, 2, 1, 1), (3,)],
    ),
    "strip_means": (lambda f, x: f(x), [(1, 3, 5, 7)]),
    "strip_sum": (lambda f, *tensors: f(*tensors), [(1, 3, 4, 1), (1, 3, 1, 5)]),
    "upsample_add": (
        lambda f, *xs: f(xs, relu=True),
        [(1, 3, 8, 9), (1, 3, 4, 5)],
    ),
    "upsample_argmax": (
        lambda f, x: f(x, (8, 9), with_confidence=True),
        [(1, 3, 4, 5)],
    ),
    "upsample_cross_entropy": (lambda f, x: f(x, PIXEL_LABEL), [(1, 3, 3, 4)]),
}


class _Calls(TorchDispatchMode):
    """The operators that were called."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def _functions_of_ours(results):
    """Autograd functions written in Python that the results come from."""
    nodes = [y.grad_fn for y in results if y.grad_fn is not None]
    seen = set(nodes)
    for node in nodes:
        new = {n for n, _ in node.next_functions if n is not None} - seen
        seen |= new
        nodes.extend(new)
    return {type(n).__name__ for n in seen if isinstance(n, BackwardCFunction)}


def test_every_operation_is_listed():
    functions = {n for n in ops.__all__ if n[0].islower() and not n.endswith("_reference")}
    assert functions == {*CALLS, "resnet_block", "use_references"}


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", CALLS)
def test_use_references(name, layout, learns):
    call, shapes = CALLS[name]
    tensors = [torch.randn(s).requires_grad_(learns) for s in shapes]
    tensors = [x.contiguous(memory_format=layout) if x.dim() == 4 else x for x in tensors]

    def run(function):
        torch.manual_seed(1)  # the modules' parameters
        with torch.set_grad_enabled(learns):
            result = call(function, *tensors)
        return result if isinstance(result, tuple) else (result,)

    with ops.use_references(), _Calls() as calls:
        ours = run(getattr(ops, name))
    assert not {n for n in calls.names if n.startswith("mmseg_papers")}
    assert not _functions_of_ours(ours)
    plain = run(getattr(ops, f"{name}_reference", getattr(ops, name)))
    if hasattr(ops, f"{name}_reference"):
        assert all(map(torch.equal, ours, plain))
    else:
        torch.testing.assert_close(ours, plain)


@pytest.fixture
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


#: One gives classes, one is plain itself, and sums that are drawn are those of no prior.
NOT_DIFFERENTIATED = {"upsample_argmax", "affinity_terms"}


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("name", sorted(set(CALLS) - NOT_DIFFERENTIATED))
def test_forward_mode_differentiation(name):
    """Against backward-mode differentiation of the plain form."""
    call, shapes = CALLS[name]
    tensors, tangents = (tuple(torch.randn(s) for s in shapes) for _ in range(2))

    def run(*tensors):
        torch.manual_seed(1)  # the modules' parameters
        result = call(getattr(ops, name), *tensors)
        return torch.cat([y.flatten() for y in result]) if isinstance(result, tuple) else result

    _, tangent = torch.func.jvp(run, tensors, tangents)
    weights = torch.randn_like(tangent)
    with ops.use_references():
        gradients = torch.autograd.functional.vjp(run, tensors, weights)[1]
    expected = sum((g * t).sum() for g, t in zip(gradients, tangents, strict=True))
    torch.testing.assert_close((tangent * weights).sum(), expected)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("name", sorted(set(CALLS) - NOT_DIFFERENTIATED))
def test_functional_transforms(name):
    """``torch.func.vjp`` gives the gradients of the plain form."""
    call, shapes = CALLS[name]
    tensors = tuple(torch.randn(s) for s in shapes)

    def run(*tensors):
        torch.manual_seed(1)  # the modules' parameters
        result = call(getattr(ops, name), *tensors)
        return sum(y.square().sum() for y in result) if isinstance(result, tuple) else result.sum()

    ours = torch.func.vjp(run, *tensors)[1](torch.ones(()))
    with ops.use_references():
        plain = torch.autograd.functional.vjp(run, tensors, torch.ones(()))[1]
    torch.testing.assert_close(ours, plain)
