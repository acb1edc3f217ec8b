"""affinity_loss against its plain form: value, gradient, edges, memory, compilation, kernels."""

import importlib

import pytest
import torch

from mmseg_papers.ops.affinity_loss import (
    add_affinity_sums,
    affinity_loss,
    affinity_loss_reference,
    affinity_sums,
    affinity_sums_gradient,
    affinity_terms,
)

from .test_upsample_add import LargeResults

LAYOUTS = [torch.contiguous_format, torch.channels_last]
SIZES = [(3, 4), (1, 1), (5, 7), (1, 6)]


def module():
    return importlib.import_module("mmseg_papers.ops.affinity_loss")


def inputs(size, memory_format=torch.contiguous_format, dtype=torch.float64, scale=2.0):
    """Logits, and labels: an image of one class, and one with classes seen once and ignored."""
    positions = size[0] * size[1]
    logits = scale * torch.randn(2, positions, *size, dtype=torch.float64)
    label = torch.randint(0, 4, (2, positions))
    label[0] = 3
    label[1, :1] = 9
    label[1, -2:] = 255
    return logits.to(dtype).contiguous(memory_format=memory_format).requires_grad_(), label


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("empty_rows", ["clamp", "skip"])
@pytest.mark.parametrize("clamped_bce", [False, True])
@pytest.mark.parametrize("count_self", [False, True])
@pytest.mark.parametrize("block_bytes", [1, 200, 1 << 19])
def test_value_and_gradient(
    size, memory_format, empty_rows, clamped_bce, count_self, block_bytes, monkeypatch
):
    monkeypatch.setattr(module(), "BLOCK_BYTES", block_bytes)
    logits, label = inputs(size, memory_format)
    ours = affinity_loss(logits, label, empty_rows, clamped_bce, count_self)
    plain = affinity_loss_reference(logits, label, empty_rows, clamped_bce, count_self)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    upstream = torch.rand(4, dtype=torch.float64)
    (a,) = torch.autograd.grad(ours, logits, upstream)
    (b,) = torch.autograd.grad(plain, logits, upstream)
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)
    assert a.stride() == logits.stride()


def test_gradcheck():
    logits, label = inputs((2, 3))
    assert torch.autograd.gradcheck(lambda z: affinity_loss(z, label), logits)


def test_the_query_is_the_place_and_the_key_the_channel():
    """Exchanging them leaves the unary term only."""
    logits, label = inputs((3, 4))
    logits = logits.detach().flatten(2)
    ours, exchanged = (affinity_loss(z, label) for z in (logits, logits.transpose(1, 2)))
    torch.testing.assert_close(ours[0], exchanged[0])
    assert ((ours - exchanged)[1:].abs() > 1e-3).sum() >= 2


def test_empty_rows_cost_a_constant_and_have_no_gradient():
    logits = torch.randn(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    for label, empty in (([[0, 1, 2, 3]], [1, 3]), ([[5, 5, 5, 5]], [2])):
        clamp, skip = (
            affinity_loss(logits, torch.tensor(label), rows) for rows in ("clamp", "skip")
        )
        assert clamp[empty].tolist() == [100.0] * len(empty)
        assert skip[empty].tolist() == [0.0] * len(empty)
        (grad,) = torch.autograd.grad(clamp[empty].sum(), logits)
        assert grad.abs().max() == 0


def test_the_papers_equations():
    """Recall, specificity and precision of every row, with every position its own companion."""
    prior = torch.rand(5, 5, dtype=torch.float64) * 0.8 + 0.1  # queries, keys
    label = torch.tensor([0, 0, 1, 2, 0])
    ideal = (label[:, None] == label).double()
    recall = (ideal * prior).sum(1) / ideal.sum(1)
    specificity = ((1 - ideal) * (1 - prior)).sum(1) / (1 - ideal).sum(1)
    precision = (ideal * prior).sum(1) / prior.sum(1)
    unary = torch.nn.functional.binary_cross_entropy(prior, ideal)
    expected = [unary, *(-x.log().mean() for x in (recall, specificity, precision))]
    terms = affinity_loss(prior.T.logit()[None], label[None], count_self=True)
    torch.testing.assert_close(terms, torch.stack(expected))


def test_a_fresh_prior():
    """p = 0.5 everywhere costs ln 2 in three terms and the share of the class in the fourth."""
    label = torch.tensor([[0, 0, 1, 1]])
    terms = affinity_loss(torch.zeros(1, 4, 2, 2, dtype=torch.float64), label)
    expected = torch.tensor([0.5, 0.5, 0.5, 0.25], dtype=torch.float64)
    torch.testing.assert_close(terms, -expected.log())


def test_wrong_and_certain_logits_keep_their_gradient():
    """Where the authors' cross entropy of probabilities jumps to 100 and stops learning."""
    logits = torch.zeros(1, 4, 2, 2)
    logits[0, 0, 0, 1] = 20.0
    label = torch.tensor([[0, 1, 0, 1]])
    costs, gradients = {}, {}
    for clamped in (False, True):
        z = logits.clone().requires_grad_()
        unary = affinity_loss(z, label, clamped_bce=clamped)[0] * 16
        costs[clamped] = unary.item() - 15 * torch.tensor(2.0).log().item()
        gradients[clamped] = torch.autograd.grad(unary, z)[0][0, 0, 0, 1].item()
    assert costs == pytest.approx({False: 20.0, True: 100.0}, abs=1e-4)
    assert gradients == pytest.approx({False: 1.0, True: 0.0})


@pytest.mark.parametrize("clamped_bce", [False, True])
def test_a_row_without_any_probability_is_finite(clamped_bce):
    logits = torch.full((1, 4, 2, 2), -200.0, requires_grad=True)
    terms = affinity_loss(logits, torch.tensor([[0, 0, 1, 1]]), clamped_bce=clamped_bce)
    (grad,) = torch.autograd.grad(terms.sum(), logits)
    assert terms[[1, 3]].tolist() == [100.0, 100.0]
    assert torch.isfinite(grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_half_precision_adds_up_in_float32(dtype, memory_format):
    logits, label = inputs((5, 7), memory_format, dtype)
    exact = logits.detach().float().requires_grad_()
    ours, plain = affinity_loss(logits, label), affinity_loss(exact, label)
    assert torch.equal(ours, plain)
    (a,), (b,) = (torch.autograd.grad(x.sum(), z) for x, z in ((ours, logits), (plain, exact)))
    assert torch.equal(a, b.to(dtype))


@pytest.mark.parametrize("clamped_bce", [False, True])
def test_works_under_autocast(clamped_bce):
    logits, label = inputs((3, 4), dtype=torch.float32)
    expected = affinity_loss(logits, label, clamped_bce=clamped_bce)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = affinity_loss(logits, label, clamped_bce=clamped_bce)
        ours.sum().backward()
    assert torch.equal(ours, expected)
    assert torch.isfinite(logits.grad).all()


def test_empty_batch():
    logits = torch.zeros(0, 6, 2, 3, requires_grad=True)
    terms = affinity_loss(logits, torch.zeros(0, 6, dtype=torch.long))
    assert terms.tolist() == [0.0] * 4
    terms.sum().backward()
    assert logits.grad.shape == logits.shape


def test_nothing_but_the_gradient_is_as_large_as_the_prior(monkeypatch):
    monkeypatch.setattr(module(), "BLOCK_BYTES", 1 << 10)
    logits, label = inputs((8, 8), dtype=torch.float32)
    logits = logits.detach()
    sums = torch.zeros(4, 2, 64)
    with LargeResults(logits.numel() // 2) as ours:
        add_affinity_sums(sums, logits.flatten(2), label, 0, False, False)
        out = torch.empty(2, 64, 64)
        affinity_sums_gradient(sums, logits.flatten(2), label, 0, False, False, out)
    assert ours.storages <= {out.data_ptr(), logits.data_ptr()}
    with LargeResults(logits.numel() // 2) as plain:
        affinity_loss_reference(logits, label)
    assert len(plain.storages) > 5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(logits=torch.ones(1, 4, 2, 2, dtype=torch.int32)), TypeError, r"torch\.int32"),
        (dict(logits=torch.ones(1, 4, 2, 3)), ValueError, r"\(1, 4, 2, 3\) and \(1, 4\)"),
        (dict(logits=torch.ones(1, 5, 2, 2)), ValueError, r"\(1, 5, 2, 2\) and \(1, 4\)"),
        (dict(logits=torch.ones(2, 4, 2, 2)), ValueError, r"\(2, 4, 2, 2\) and \(1, 4\)"),
        (dict(logits=torch.ones(4, 4)), ValueError, r"\(4, 4\) and \(1, 4\)"),
        (dict(label=torch.zeros(1, 2, 2).long()), ValueError, r"and \(1, 2, 2\)"),
        (dict(empty_rows="drop"), ValueError, "'clamp' or 'skip', got 'drop'"),
    ],
)
def test_refusals(change, error, message):
    arguments = dict(logits=torch.ones(1, 4, 2, 2), label=torch.zeros(1, 4).long())
    with pytest.raises(error, match=message):
        affinity_loss(**{**arguments, **change})


@pytest.mark.torch_2_4
def test_compiles_without_a_graph_break():
    torch._dynamo.reset()
    logits, label = inputs((3, 4))
    compiled = torch.compile(affinity_loss, fullgraph=True, backend="aot_eager")
    ours, plain = compiled(logits, label), affinity_loss_reference(logits, label)
    torch.testing.assert_close(ours, plain)
    for a, b in zip(
        torch.autograd.grad(ours.sum(), logits),
        torch.autograd.grad(plain.sum(), logits),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.torch_2_5
@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_operators_are_registered_as_torch_wants(memory_format):
    logits, label = inputs((2, 3), memory_format)
    logits = logits.detach().flatten(2)
    torch.library.opcheck(torch.ops.mmseg_papers.affinity_sums, (logits, label, False, True))
    grad = torch.randn(4, *label.shape, dtype=torch.float64)
    torch.library.opcheck(
        torch.ops.mmseg_papers.affinity_sums_backward, (grad, logits, label, False, True)
    )


@pytest.mark.triton_interpreter
@pytest.mark.parametrize(("positions", "keys", "first"), [(70, 70, 0), (70, 40, 25), (1, 1, 0)])
@pytest.mark.parametrize("by_query", [False, True])
@pytest.mark.parametrize("clamped_bce", [False, True])
@pytest.mark.parametrize("count_self", [False, True])
def test_kernels_in_the_interpreter(positions, keys, first, by_query, clamped_bce, count_self):
    options = clamped_bce, count_self
    kernels = importlib.import_module("mmseg_papers.ops.affinity_loss_triton")
    logits = torch.randn(2, keys, positions, dtype=torch.float64)
    if by_query:  # as in channels_last
        logits = logits.transpose(1, 2).contiguous().transpose(1, 2)
    label = torch.randint(0, 3, (2, positions))
    expected = torch.rand(4, 2, positions, dtype=torch.float64)
    sums = expected.clone()
    add_affinity_sums(expected, logits, label, first, *options)
    kernels.add_affinity_sums_triton(sums, logits, label, first, 100.0, *options)
    torch.testing.assert_close(sums, expected, rtol=1e-9, atol=1e-12)
    grad = torch.randn_like(sums)
    expected, out = torch.full_like(logits, 9), torch.full_like(logits, 99)
    affinity_sums_gradient(grad, logits, label, first, *options, expected)
    kernels.affinity_sums_gradient_triton(grad, logits, label, first, 1e-12, *options, out)
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize("clamped_bce", [False, True])
@pytest.mark.parametrize("count_self", [False, True])
def test_cuda(dtype, memory_format, clamped_bce, count_self):
    options = dict(clamped_bce=clamped_bce, count_self=count_self)
    logits, label = inputs((9, 11), memory_format, dtype)
    expected = affinity_loss(logits, label, **options)
    on_gpu = logits.detach().cuda().requires_grad_()
    ours = affinity_loss(on_gpu, label.cuda(), **options)
    torch.testing.assert_close(ours.cpu(), expected, rtol=1e-4, atol=1e-5)
    (a,) = torch.autograd.grad(ours.sum(), on_gpu, retain_graph=True)
    (b,) = torch.autograd.grad(expected.sum(), logits)
    torch.testing.assert_close(a.cpu(), b, rtol=1e-3, atol=1e-5)
    assert torch.equal(a, torch.autograd.grad(ours.sum(), on_gpu)[0])  # deterministic


def test_terms_come_from_the_sums():
    logits, label = inputs((3, 4))
    sums = affinity_sums(logits, label)
    assert sums.shape == (4, 2, 12)
    assert torch.equal(affinity_terms(sums, label), affinity_loss(logits, label))
