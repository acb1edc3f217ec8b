"""context_prior and context_prior_and_sums against their plain forms."""

import importlib

import pytest
import torch
import torch.distributed as dist

from mmseg_papers.ops.context_prior import (
    context_prior,
    context_prior_and_sums,
    context_prior_and_sums_reference,
    context_prior_reference,
    gather_context,
)

from .test_upsample_add import LargeResults
from .two_processes import in_two_processes

LAYOUTS = [torch.contiguous_format, torch.channels_last]
CASES = [((3, 4), 6, 1), ((3, 4), 6, 2), ((1, 1), 4, 1), ((5, 3), 7, 1)]
CHUNKS = [1, 1000, 4 << 20]


def module():
    return importlib.import_module("mmseg_papers.ops.context_prior")


def inputs(size, channels, groups, memory_format=torch.contiguous_format, dtype=torch.float64):
    """Value, weight, and scale and shift of each position."""
    positions = size[0] * size[1]
    tensors = [
        torch.randn(2, channels, *size, dtype=torch.float64),
        torch.randn(positions, channels // groups, 1, 1, dtype=torch.float64),
        torch.rand(positions, dtype=torch.float64) + 0.5,
        torch.randn(positions, dtype=torch.float64),
    ]
    tensors[0] = tensors[0].contiguous(memory_format=memory_format)
    return [x.to(dtype).requires_grad_() for x in tensors]


def test_gathering_is_a_mean_over_the_keys():
    value, logits = torch.randn(2, 3, 2, 3), torch.randn(2, 6, 2, 3)
    prior = logits.sigmoid().flatten(2)
    expected = torch.zeros(2, 3, 6)
    for query in range(6):
        for key in range(6):
            expected[..., query] += prior[:, key, query, None] * value.flatten(2)[..., key] / 6
    torch.testing.assert_close(gather_context(value, logits).flatten(2), expected)


def test_gathering_does_not_overflow_in_half_precision():
    value = torch.full((1, 2, 40, 40), 100.0, dtype=torch.float16)
    context = gather_context(value, torch.full((1, 1600, 40, 40), 20.0, dtype=torch.float16))
    torch.testing.assert_close(context, value)


@pytest.mark.parametrize("groups", [1, 2])
def test_streaming_does_not_overflow_in_half_precision(groups, monkeypatch):
    monkeypatch.setitem(module().CHUNK_BYTES, "cpu", 64 << 20)
    positions = 50 * 50
    value = torch.full((1, 2, 50, 50), 100.0, dtype=torch.float16)
    weight = torch.zeros(positions, 2 // groups, 1, 1)
    ones, shift = torch.ones(positions), torch.full((positions,), 20.0)
    label = torch.zeros(1, positions, dtype=torch.int64)
    statistics = torch.zeros(positions), ones
    trained, _, _ = context_prior_and_sums(
        value, weight, ones, shift, label, statistics, groups=groups
    )
    torch.testing.assert_close(trained, value)
    torch.testing.assert_close(context_prior(value, weight, ones, shift, groups), value)


@pytest.mark.parametrize(("size", "channels", "groups"), CASES)
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("chunk_bytes", CHUNKS)
def test_inference(size, channels, groups, memory_format, chunk_bytes, monkeypatch):
    monkeypatch.setitem(module().CHUNK_BYTES, "cpu", chunk_bytes)
    tensors = inputs(size, channels, groups, memory_format)
    ours = context_prior(*tensors, groups)
    torch.testing.assert_close(
        ours, context_prior_reference(*tensors, groups), rtol=1e-12, atol=1e-14
    )
    assert ours.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize(("size", "channels", "groups"), CASES)
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("chunk_bytes", CHUNKS)
@pytest.mark.parametrize(
    "of_loss", [{}, dict(clamped_bce=True), dict(count_self=True)], ids=["", "clamped", "self"]
)
@pytest.mark.parametrize("has_statistics", [False, True])
def test_training(
    size,
    channels,
    groups,
    memory_format,
    chunk_bytes,
    of_loss,
    has_statistics,
    device,
    monkeypatch,
):
    monkeypatch.setitem(module().CHUNK_BYTES, device, chunk_bytes)
    tensors = inputs(size, channels, groups, memory_format)
    tensors = [x.detach().to(device).requires_grad_() for x in tensors]
    positions = size[0] * size[1]
    label = torch.randint(0, 4, (2, positions)).to(device)
    statistics = None
    if has_statistics:
        statistics = tuple((torch.rand(2, positions, dtype=torch.float64) + 0.1).to(device))
    options = dict(statistics=statistics, groups=groups, **of_loss)
    *ours, used = context_prior_and_sums(*tensors, label, **options)
    *plain, expected = context_prior_and_sums_reference(*tensors, label, **options)
    for a, b in zip((*ours, *used[:2]), (*plain, *expected[:2]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    assert used.count == expected.count == 2 * positions
    assert ours[0].is_contiguous(memory_format=memory_format)
    upstream = [torch.randn_like(x) for x in ours]
    for a, b in zip(
        torch.autograd.grad(ours, tensors, upstream),
        torch.autograd.grad(plain, tensors, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def test_gradcheck():
    tensors, label = inputs((2, 2), 4, 2), torch.tensor([[0, 0, 1, 1], [2, 2, 2, 3]])

    def call(*tensors):
        return context_prior_and_sums(*tensors, label, groups=2)[:2]

    assert torch.autograd.gradcheck(call, tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_normalises_and_adds_up_in_float32(dtype):
    tensors = inputs((5, 6), 8, 1, dtype=torch.float32)
    label = torch.randint(0, 4, (2, 30))
    exact = [tensors[0].to(dtype).float(), tensors[1].to(dtype).float(), *tensors[2:]]
    value = tensors[0].detach().to(dtype).requires_grad_()
    context, sums, _ = context_prior_and_sums(value, *tensors[1:], label)
    expected = context_prior_and_sums_reference(*exact, label)
    assert context.dtype == dtype
    assert sums.dtype == torch.float32
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(context.float(), expected[0], rtol=4 * eps, atol=4 * eps)
    torch.testing.assert_close(sums, expected[1], rtol=4 * eps, atol=4 * eps)
    grads = torch.autograd.grad((context.float().sum(), sums.sum()), (value, *tensors[1:]))
    assert [g.dtype for g in grads] == [dtype, *[torch.float32] * 3]
    with torch.no_grad():
        half = context_prior(value, *tensors[1:])
        torch.testing.assert_close(
            half.float(), context_prior_reference(*exact), rtol=4 * eps, atol=4 * eps
        )


def test_works_under_autocast():
    tensors, label = inputs((3, 4), 6, 1, dtype=torch.float32), torch.randint(0, 4, (2, 12))
    expected = context_prior_and_sums(*tensors, label)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = context_prior_and_sums(*tensors, label)
        (ours[0].sum() + ours[1].sum()).backward()
    assert all(map(torch.equal, ours[:2], expected[:2]))
    assert all(torch.isfinite(x.grad).all() for x in tensors)


def test_empty_batch():
    tensors = [x.detach()[:0] if x.dim() == 4 and len(x) == 2 else x for x in inputs((2, 3), 4, 1)]
    assert context_prior(*tensors).shape == (0, 4, 2, 3)
    given = tuple(torch.ones(2, 6, dtype=torch.float64))
    context, sums, _ = context_prior_and_sums(
        *tensors, torch.zeros(0, 6, dtype=torch.long), statistics=given
    )
    assert context.shape == (0, 4, 2, 3)
    assert sums.shape == (4, 0, 6)


def test_a_prior_never_exists(monkeypatch):
    monkeypatch.setitem(module().CHUNK_BYTES, "cpu", 1 << 12)
    tensors, label = inputs((12, 12), 4, 1, dtype=torch.float32), torch.randint(0, 4, (2, 144))
    prior = 2 * 144 * 144
    with LargeResults(prior // 4) as ours:
        context_prior(*[x.detach() for x in tensors])
        context, sums, _ = context_prior_and_sums(*tensors, label)
        (context.sum() + sums.sum()).backward()
    assert not ours.storages
    with LargeResults(prior // 4) as plain:
        context_prior_reference(*tensors)
    assert len(plain.storages) >= 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(weight=torch.ones(5, 4, 1, 1)),
            r"need a weight of \(6, 4, 1, 1\), got \(5, 4, 1, 1\)",
        ),
        (dict(weight=torch.ones(6, 4, 3, 3)), r"got \(6, 4, 3, 3\)"),
        (dict(groups=3), r"divisible by groups=3, got \(2, 4, 2, 3\)"),
        (dict(groups=4), r"divisible by groups=4"),
        (dict(value=torch.ones(4, 2, 3)), r"must be \(B, C, h, w\)"),
        (dict(shift=torch.ones(5)), r"shift must be \(6,\), .* got \(5,\)"),
    ],
)
def test_refusals(change, message):
    ones = torch.ones(6)
    arguments = dict(
        value=torch.ones(2, 4, 2, 3), weight=torch.ones(6, 4, 1, 1), scale=ones, shift=ones
    )
    with pytest.raises(ValueError, match=message):
        context_prior(**{**arguments, **change})


def test_refuses_integers():
    value, ones = torch.ones(2, 4, 2, 3, dtype=torch.int64), torch.ones(6)
    with pytest.raises(TypeError, match=r"value must be floating point, got torch\.int64"):
        context_prior(value, torch.ones(6, 4, 1, 1), ones, ones)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(label=torch.zeros(1, 6).long()), r"needs a label of \(2, 6\), got \(1, 6\)"),
        (dict(label=torch.zeros(2, 2, 3).long()), r"needs a label of \(2, 6\), got \(2, 2, 3\)"),
        (dict(norm_bias=torch.ones(5)), r"norm_bias must be \(6,\), .* got \(5,\)"),
        (dict(statistics=(torch.ones(6), torch.ones(1))), r"var must be \(6,\), .* got \(1,\)"),
    ],
)
def test_training_refusals(change, message):
    arguments = dict(
        value=torch.ones(2, 4, 2, 3),
        weight=torch.ones(6, 4, 1, 1),
        norm_weight=torch.ones(6),
        norm_bias=torch.ones(6),
        label=torch.zeros(2, 6).long(),
    )
    with pytest.raises(ValueError, match=message):
        context_prior_and_sums(**{**arguments, **change})


def test_refuses_statistics_of_one_value():
    tensors, label = inputs((1, 1), 4, 1), torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="more than one value a channel while training"):
        context_prior_and_sums(tensors[0][:1], *tensors[1:], label)


def _one_of_two(rank, tensors, label):
    value, *parameters = tensors
    value = value.detach()[rank : rank + 1].requires_grad_()
    context, sums, used = context_prior_and_sums(
        value, *parameters, label[rank : rank + 1], process_group=dist.group.WORLD
    )
    grads = torch.autograd.grad(context.sum() + sums.square().sum(), (value, *parameters))
    count = torch.as_tensor(used.count, dtype=torch.float64)
    assert not count.requires_grad  # or it holds the graph that holds it
    return [count, context, sums, *used[:2], *grads]


def test_two_processes_share_the_statistics(tmp_path):
    """As synchronised batch normalisation: together they compute what one does on both images."""
    tensors, label = inputs((3, 4), 6, 1), torch.randint(0, 4, (2, 12))
    context, sums, used = context_prior_and_sums(*tensors, label)
    grads = torch.autograd.grad(context.sum() + sums.square().sum(), tensors)
    counts, *parts = in_two_processes(_one_of_two, tmp_path / "store", tensors, label)
    assert counts == [used.count] * 2
    for pair, whole, dim in zip(parts[:2], (context, sums), (0, 1), strict=True):
        torch.testing.assert_close(torch.cat(pair, dim), whole)
    for pair, whole in zip(parts[2:4], used[:2], strict=True):
        torch.testing.assert_close(pair[0], whole)
        torch.testing.assert_close(pair[1], whole)
    torch.testing.assert_close(torch.cat(parts[4]), grads[0])
    for pair, whole in zip(parts[5:], grads[1:], strict=True):  # DDP reduces them
        torch.testing.assert_close(pair[0] + pair[1], whole)


@pytest.mark.torch_2_4
def test_compiles_without_a_graph_break():
    torch._dynamo.reset()
    tensors = [x.detach() for x in inputs((3, 4), 6, 1)]
    compiled = torch.compile(context_prior, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*tensors), context_prior_reference(*tensors))


@pytest.mark.torch_2_5
@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_operator_is_registered_as_torch_wants(memory_format):
    tensors = [x.detach() for x in inputs((2, 3), 4, 1, memory_format)]
    torch.library.opcheck(torch.ops.mmseg_papers.context_prior, (*tensors, 1))


class Inference(torch.nn.Module):
    def forward(self, *tensors):
        return context_prior(*tensors)


@pytest.mark.torch_2_7
def test_an_exported_program_holds_stock_operators_only():
    tensors = tuple(x.detach() for x in inputs((3, 4), 6, 1))
    program = torch.export.export(Inference(), tensors)
    targets = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert targets
    assert all(t.startswith("aten.") for t in targets)
    torch.testing.assert_close(program.module()(*tensors), context_prior(*tensors))


@pytest.mark.triton_interpreter
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize(("size", "channels"), [((5, 7), 20), ((1, 1), 3), ((4, 4), 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_kernel_in_the_interpreter(size, channels, memory_format, dtype):
    kernels = importlib.import_module("mmseg_papers.ops.context_prior_triton")
    tensors = [x.detach() for x in inputs(size, channels, 1, memory_format, torch.float32)]
    tensors[0] = tensors[0].to(dtype)
    out = torch.full_like(tensors[0], 99)
    kernels.context_prior_triton(*tensors, out)
    expected = context_prior(*tensors)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(out, expected, rtol=8 * eps, atol=8 * eps)


@pytest.mark.triton_interpreter
def test_kernel_reads_tensors_of_any_strides(strided, monkeypatch):
    kernels = importlib.import_module("mmseg_papers.ops.context_prior_triton")
    monkeypatch.setattr(kernels, "fits_shared_memory", lambda _: True)
    value, weight, *vectors = (x.detach() for x in inputs((3, 4), 6, 1, dtype=torch.float32))
    value = value.transpose(2, 3).contiguous().transpose(2, 3)
    vectors = [strided(x) for x in vectors]
    expected = context_prior(value, weight, *vectors)
    monkeypatch.setattr(module(), "runs_triton", lambda _: True)
    torch.testing.assert_close(context_prior(value, weight, *vectors), expected)


@pytest.mark.cuda
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(("size", "channels", "groups"), [((9, 11), 40, 1), ((6, 8), 40, 2)])
def test_cuda(size, channels, groups, memory_format, dtype):
    tensors = [x.detach() for x in inputs(size, channels, groups, memory_format)]
    tensors[0] = tensors[0].to(dtype)
    if dtype == torch.float16:
        tensors[1:] = [x.float() for x in tensors[1:]]
    else:
        tensors[1:] = [x.to(dtype) for x in tensors[1:]]
    ours = context_prior(*[x.cuda() for x in tensors], groups)
    tolerance = {torch.float16: 1e-2, torch.float32: 1e-4, torch.float64: 1e-10}[dtype]
    expected = context_prior(*tensors, groups)
    torch.testing.assert_close(ours.cpu(), expected, rtol=tolerance, atol=tolerance)
