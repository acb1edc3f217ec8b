"""Every operation against its reference at drawn shapes, strides, layouts and number types."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmseg_papers import ops

SIDE = st.integers(1, 9)
CHANNELS = st.integers(1, 6)
BATCH = st.integers(0, 3)
FLAG = st.booleans()
#: What a tensor of these values may look like in memory.
STRIDES = {
    "contiguous": lambda x: x.contiguous(),
    "channels last": lambda x: x.to(memory_format=torch.channels_last) if x.dim() == 4 else x,
    "transposed": lambda x: (
        x.transpose(-1, -2).contiguous().transpose(-1, -2) if x.dim() > 1 else x
    ),
    "every second": lambda x: x.repeat_interleave(2, dim=-1)[..., ::2],
    "part of a larger one": lambda x: F.pad(x, (2, 1))[..., 2:-1],
    "reversed batch": lambda x: x.flip(0).contiguous().flip(0),
}


class Drawing:
    """Draws tensors of one number type on one device, each in its own strides."""

    def __init__(self, data, dtype, device="cpu"):
        self.data = data
        self.dtype = dtype
        self.device = device
        self.random = torch.Generator().manual_seed(data.draw(st.integers(0, 9999), label="seed"))

    def __call__(self, strategy):
        return self.data.draw(strategy)

    def tensor(self, *shape):
        values = torch.randn(shape, generator=self.random, dtype=torch.float64)
        values = values.to(self.device, self.dtype)
        strides = self.data.draw(st.sampled_from(sorted(STRIDES)), label=f"strides of {shape}")
        return STRIDES[strides](values)

    def labels(self, classes, *shape):
        label = torch.randint(classes, shape, generator=self.random)
        label = label.masked_fill(torch.rand(shape, generator=self.random) < 0.2, 255)
        return label.to(self.device)


def pyramid(draw, batch):
    """One to three maps of any sizes."""
    counts = [draw(CHANNELS) for _ in range(draw(st.integers(1, 3)))]
    return [draw.tensor(batch, c, draw(SIDE), draw(SIDE)) for c in counts]


def upsample_add(draw):
    batch, channels = draw(BATCH), draw(CHANNELS)
    xs = [
        draw.tensor(batch, channels, draw(SIDE), draw(SIDE)) for _ in range(draw(st.integers(1, 3)))
    ]
    mode = dict(mode="bilinear", align_corners=draw(FLAG)) if draw(FLAG) else dict(mode="nearest")
    options = dict(mode, size=draw(st.sampled_from([None, (7, 11)])), relu=draw(FLAG))
    return [
        lambda *xs, f=f: f(xs, **options) for f in (ops.upsample_add, ops.upsample_add_reference)
    ], xs


def upsample_cross_entropy(draw):
    batch, classes, size = (
        draw(st.integers(1, 3)),
        draw(st.integers(2, 6)),
        (draw(SIDE), draw(SIDE)),
    )
    label = draw.labels(classes, batch, *size)
    options = dict(
        reduction=draw(st.sampled_from(["none", "sum", "mean"])),
        avg_non_ignore=draw(FLAG),
        align_corners=draw(FLAG),
        label_smoothing=draw(st.sampled_from([0.0, 0.1])),
    )
    functions = (ops.upsample_cross_entropy, ops.upsample_cross_entropy_reference)
    logits = draw.tensor(batch, classes, draw(SIDE), draw(SIDE))
    return [lambda x, f=f: f(x, label, **options)[0] for f in functions], [logits]


def affinity_loss(draw):
    batch, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(2, 4))
    n = height * width
    label, rows = draw.labels(3, batch, n), draw(st.sampled_from(["clamp", "skip"]))
    functions = (ops.affinity_loss, ops.affinity_loss_reference)
    return [lambda x, f=f: f(x, label, rows) for f in functions], [
        draw.tensor(batch, n, height, width)
    ]


def context_prior(draw):
    batch, channels, height, width = draw(BATCH), draw(CHANNELS), draw(SIDE), draw(SIDE)
    n = height * width
    xs = [draw.tensor(batch, channels, height, width), draw.tensor(n, channels, 1, 1)]
    return [ops.context_prior, ops.context_prior_reference], [*xs, draw.tensor(n), draw.tensor(n)]


def chained_pooling1x1(draw):
    channels = draw(CHANNELS)
    weights = [draw.tensor(channels, channels, 1, 1) for _ in range(draw(st.integers(1, 3)))]
    functions = (ops.chained_pooling1x1, ops.chained_pooling1x1_reference)
    x = draw.tensor(draw(BATCH), channels, draw(SIDE), draw(SIDE))
    return [lambda x, *ws, f=f: f(x, ws) for f in functions], [x, *weights]


def conv_of_constant_concat(draw):
    batch, height, width = draw(st.integers(1, 3)), draw(SIDE), draw(SIDE)
    channels = [draw(CHANNELS) for _ in range(draw(st.integers(2, 3)))]
    constant = draw.tensor(batch, channels[0], draw(st.sampled_from([1, height])), 1)
    maps = [draw.tensor(batch, c, height, width) for c in channels[1:]]
    kernel, out = draw(st.sampled_from([1, 3])), draw(CHANNELS)
    weight, bias = draw.tensor(out, sum(channels), kernel, kernel), draw.tensor(out)
    functions = (ops.conv_of_constant_concat, ops.conv_of_constant_concat_reference)
    return [lambda c, w, b, *maps, f=f: f(c, maps, w, b) for f in functions], [
        constant,
        weight,
        bias,
        *maps,
    ]


def conv1x1_pair(draw):
    channels, middle, out = draw(CHANNELS), draw(CHANNELS), draw(CHANNELS)
    x = draw.tensor(draw(BATCH), channels, draw(SIDE), draw(SIDE))
    kernels = [draw.tensor(middle, channels, 1, 1), draw.tensor(out, middle, 1, 1)]
    return [ops.conv1x1_pair, ops.conv1x1_pair_reference], [x, *kernels]


def feature_affinity(draw):
    shape = draw(st.integers(1, 3)), draw(SIDE), draw(SIDE)
    xs = [draw.tensor(shape[0], draw(CHANNELS), *shape[1:]) for _ in range(2)]
    options = dict(p=draw(st.sampled_from([1, 2])), normalize=draw(FLAG))
    functions = (ops.feature_affinity, ops.feature_affinity_reference)
    return [lambda x, y, f=f: f(x, y, **options) for f in functions], xs


def gate_rows(draw):
    shape, with_mean = (draw(BATCH), draw(CHANNELS), draw(SIDE)), draw(FLAG)
    xs = [draw.tensor(*shape, draw(SIDE)), draw.tensor(*shape)]
    functions = (ops.gate_rows, ops.gate_rows_reference)
    return [lambda x, gate, f=f: f(x, gate, with_mean) for f in functions], xs


def max_pool5x5(draw):
    x = draw.tensor(draw(BATCH), draw(CHANNELS), draw(SIDE), draw(SIDE))
    return [ops.max_pool5x5, ops.max_pool5x5_reference], [x]


def pool_rows(draw):
    rows, pooling = draw(st.integers(1, 12)), draw(st.sampled_from(["mean", "max"]))
    x = draw.tensor(draw(st.integers(1, 3)), draw(CHANNELS), draw(SIDE), draw(SIDE))
    functions = (ops.pool_rows, ops.pool_rows_reference)
    return [lambda x, f=f: f(x, rows, pooling) for f in functions], [x]


def strip_means(draw):
    x = draw.tensor(draw(BATCH), draw(CHANNELS), draw(SIDE), draw(SIDE))
    return [ops.strip_means, ops.strip_means_reference], [x]


def strips(draw):
    batch, channels, size = draw(st.integers(1, 3)), draw(CHANNELS), (draw(SIDE), draw(SIDE))
    row, column = draw.tensor(batch, channels, size[0], 1), draw.tensor(batch, channels, 1, size[1])
    return batch, channels, size, row, column


def strip_sum(draw):
    return [ops.strip_sum, ops.strip_sum_reference], strips(draw)[3:]


def strip_gate(draw):
    batch, inner, size, row, column = strips(draw)
    channels = draw(CHANNELS)
    x, weight = draw.tensor(batch, channels, *size), draw.tensor(channels, inner, 1, 1)
    functions = [ops.strip_gate, ops.strip_gate_reference]
    return functions, [x, row, column, weight, draw.tensor(channels)]


def conv_of_upsampled_concat(draw, functions, kernel, **options):
    xs, out = pyramid(draw, draw(st.integers(1, 3))), draw(CHANNELS)
    weight = draw.tensor(out, sum(x.shape[1] for x in xs), kernel, kernel)
    options = dict(options, align_corners=draw(FLAG))
    return [lambda w, b, *xs, f=f: f(xs, w, b, **options) for f in functions], [
        weight,
        draw.tensor(out),
        *xs,
    ]


def conv1x1_of_upsampled_concat(draw):
    functions = (
        lambda *args, **kwargs: ops.conv1x1_of_upsampled_concat(
            *args, min_channels_low=2, **kwargs
        ),
        ops.conv1x1_of_upsampled_concat_reference,
    )
    return conv_of_upsampled_concat(draw, functions, 1)


def conv3x3_of_upsampled_concat(draw):
    functions = (ops.conv3x3_of_upsampled_concat, ops.conv3x3_of_upsampled_concat_reference)
    return conv_of_upsampled_concat(draw, functions, 3, dilation=draw(st.integers(1, 2)))


OPERATIONS = [
    affinity_loss, chained_pooling1x1, conv1x1_of_upsampled_concat, conv1x1_pair,
    conv3x3_of_upsampled_concat, conv_of_constant_concat, context_prior, feature_affinity,
    gate_rows, max_pool5x5, pool_rows, strip_gate, strip_means, strip_sum, upsample_add,
    upsample_cross_entropy,
]  # fmt: skip
NO_BACKWARD = (context_prior,)
PROPERTY = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def outputs(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("operation", OPERATIONS)
@PROPERTY
@given(data=st.data())
def test_value_and_gradient_in_float64(operation, device, data):
    (ours, plain), inputs = operation(Drawing(data, torch.float64, device))
    inputs = [x.requires_grad_(operation not in NO_BACKWARD) for x in inputs]
    results = [outputs(function(*inputs)) for function in (ours, plain)]
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-11)
    if operation in NO_BACKWARD:
        return
    weights = [
        torch.randn(x.shape, dtype=x.dtype, generator=torch.manual_seed(0)).to(device)
        for x in results[1]
    ]
    gradients = [torch.autograd.grad(result, inputs, weights) for result in results]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("operation", OPERATIONS)
@PROPERTY
@given(data=st.data())
def test_value_in_lower_precision(operation, dtype, device, data):
    """Against the reference of the same values in float64, in units of the largest result."""
    (ours, plain), inputs = operation(Drawing(data, dtype, device))
    results = outputs(ours(*inputs))
    expected = outputs(plain(*[x.double() for x in inputs]))
    for result, exact in zip(results, expected, strict=True):
        assert result.shape == exact.shape
        if exact.numel():
            # Rounding to the number type between steps, and sums of up to 162 terms in float32.
            tolerance = 4 * torch.finfo(dtype).eps + 16 * torch.finfo(torch.float32).eps
            tolerance *= max(1.0, exact.abs().max().item())
            torch.testing.assert_close(result.double(), exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize("operation", OPERATIONS)
@PROPERTY
@given(data=st.data())
def test_float32_under_autocast(operation, device, data):
    """Products may run in bfloat16; nothing breaks where some steps do and others do not."""
    (ours, plain), inputs = operation(Drawing(data, torch.float32, device))
    inputs = [x.requires_grad_(operation not in NO_BACKWARD) for x in inputs]
    with torch.autocast(device, torch.bfloat16):
        results = outputs(ours(*inputs))
        if operation not in NO_BACKWARD:
            gradients = torch.autograd.grad(sum(x.float().sum() for x in results), inputs)
            assert all(x.dtype == torch.float32 and x.isfinite().all() for x in gradients)
    expected = outputs(plain(*[x.detach().double() for x in inputs]))
    for result, exact in zip(results, expected, strict=True):
        if exact.numel():
            # The rounded terms of a sum of up to 162 may cancel.
            tolerance = 0.1 * max(1.0, exact.abs().max().item())
            torch.testing.assert_close(result.double(), exact, rtol=0, atol=tolerance)


@PROPERTY
@given(data=st.data())
def test_upsample_argmax(device, data):
    draw = Drawing(data, data.draw(st.sampled_from([torch.float64, torch.float32])), device)
    logits = draw.tensor(draw(BATCH), draw(st.integers(2, 6)), draw(SIDE), draw(SIDE))
    size = draw(SIDE), draw(SIDE)
    options = dict(
        align_corners=draw(FLAG),
        out_size=draw(st.sampled_from([None, (5, 8)])),
        flip=draw(st.sampled_from([None, "horizontal", "vertical"])),
        with_confidence=True,
    )
    labels, confidence = ops.upsample_argmax(logits, size, **options)
    expected, probability = ops.upsample_argmax_reference(logits.double(), size, **options)
    assert torch.equal(labels, expected)
    torch.testing.assert_close(confidence.double(), probability.double(), rtol=1e-5, atol=1e-6)
