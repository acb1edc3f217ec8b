"""feature_affinity against its plain form: value, gradient, precision, memory, options."""

import importlib

import pytest
import torch

from mmseg_papers.ops import feature_affinity, feature_affinity_reference

from ..test_models.test_segmentors.tiny_models import Largest

FORMS = [dict(p=p, normalize=normalize) for p in (1, 2) for normalize in (True, False)]


def module():
    return importlib.import_module("mmseg_papers.ops.feature_affinity")


def features(
    channels=(5, 3), size=(6, 9), batch=2, dtype=torch.float64, layout=torch.contiguous_format
):
    return [
        torch.randn(batch, c, *size, dtype=dtype).to(memory_format=layout).requires_grad_()
        for c in channels
    ]


def assert_equal(xs, form, tolerance=1e-12):
    ours, plain = feature_affinity(*xs, **form), feature_affinity_reference(*xs, **form)
    torch.testing.assert_close(ours, plain, rtol=tolerance, atol=tolerance)
    upstream = torch.rand_like(plain)
    for a, b in zip(
        torch.autograd.grad(ours, xs, upstream),
        torch.autograd.grad(plain, xs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [(5, 3), (1, 1), (4, 70)])
@pytest.mark.parametrize(
    ("size", "block"), [((6, 9), 7), ((3, 5), 1), ((6, 9), 128), ((1, 1), 128)]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradient(form, channels, size, block, layout, monkeypatch):
    monkeypatch.setattr(module(), "CPU_BLOCK_ROWS", block)
    monkeypatch.setattr(module(), "CHUNK_PIXELS", block)
    assert_equal(features(channels, size, layout=layout), form)


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(form):
    xs = features((3, 2), (2, 3))
    assert torch.autograd.gradcheck(lambda *x: feature_affinity(*x, **form), xs)


@pytest.mark.parametrize("form", FORMS)
def test_pixels_without_a_feature(form):
    x, y = features()
    with torch.no_grad():
        x[:, :, 0] = 0
        y[:, :, 0, :4] = 0
    torch.testing.assert_close(
        feature_affinity(x, y, **form), feature_affinity_reference(x, y, **form)
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(form, dtype):
    xs = features((20, 12), (8, 8), dtype=dtype)
    ours = feature_affinity(*xs, **form)
    assert ours.dtype == torch.float32
    wide = [x.detach().float().requires_grad_() for x in xs]
    expected = feature_affinity(*wide, **form)
    torch.testing.assert_close(ours, expected)
    for a, b in zip(
        torch.autograd.grad(ours.sum(), xs), torch.autograd.grad(expected.sum(), wide), strict=True
    ):
        assert a.dtype == dtype
        torch.testing.assert_close(a, b.to(dtype))


@pytest.mark.parametrize("form", FORMS)
def test_autocast_changes_nothing(form):
    xs = features(dtype=torch.float32)
    expected = feature_affinity(*xs, **form)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(feature_affinity(*xs, **form), expected)


def test_squared_keeps_its_digits_where_the_affinities_agree():
    """Three large sums nearly cancel: in float32 nothing would be left."""
    x = torch.randn(1, 64, 32, 32)
    y = x + 1e-4 * torch.randn_like(x)
    form = dict(p=2, normalize=True)
    expected = feature_affinity_reference(x.double(), y.double(), **form)
    assert 0 < expected < 1e-8
    torch.testing.assert_close(feature_affinity(x, y, **form).double(), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("p", [1, 2])
def test_agreeing_affinities_give_nothing(p):
    x = torch.randn(2, 6, 5, 5)
    assert (feature_affinity(x, x, p=p).abs() <= 1e-7).all()


@pytest.mark.parametrize(("p", "limit"), [(1, 128 * 48 * 64), (2, 19 * 48 * 64)])
def test_never_holds_a_matrix_of_all_pairs(p, limit):
    xs = features((19, 19), (48, 64), batch=1, dtype=torch.float32)
    with Largest() as largest:
        torch.autograd.grad(feature_affinity(*xs, p=p).sum(), xs)
    pairs = (48 * 64) ** 2
    assert largest.elements <= 2 * limit < pairs


@pytest.mark.parametrize("p", [1, 2])
def test_without_gradient_none_is_made(p, monkeypatch):
    x, y = features()
    expected = feature_affinity(x, y, p=p).detach()
    made = []
    monkeypatch.setattr(torch, "empty_like", lambda *args: made.append(args))
    with torch.no_grad():
        torch.testing.assert_close(feature_affinity(x, y, p=p), expected)
    torch.testing.assert_close(feature_affinity(x.detach(), y.detach(), p=p), expected)
    assert not made


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("detached", [0, 1])
def test_gradient_of_one_side(p, detached):
    xs = features()
    other = 1 - detached
    (expected,) = torch.autograd.grad(feature_affinity_reference(*xs, p=p).sum(), xs[other])
    xs[detached] = xs[detached].detach()
    (got,) = torch.autograd.grad(feature_affinity(*xs, p=p).sum(), xs[other])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("form", FORMS)
def test_empty_batch(form):
    xs = features(batch=0)
    ours = feature_affinity(*xs, **form)
    assert ours.shape == (0,)
    assert [g.shape for g in torch.autograd.grad(ours.sum(), xs)] == [x.shape for x in xs]


@pytest.mark.torch_2_5
@pytest.mark.parametrize("p", [1, 2])
def test_compiles_without_a_graph_break(p):
    xs = features(dtype=torch.float32)
    compiled = torch.compile(
        lambda *x: feature_affinity(*x, p=p), backend="aot_eager", fullgraph=True
    )
    ours, plain = compiled(*xs), feature_affinity(*xs, p=p)
    torch.testing.assert_close(ours, plain)
    for a, b in zip(
        torch.autograd.grad(ours.sum(), xs), torch.autograd.grad(plain.sum(), xs), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.torch_2_7
@pytest.mark.parametrize("p", [1, 2])
def test_exports_the_plain_form(p):
    class Loss(torch.nn.Module):
        def forward(self, x, y):
            return feature_affinity(x, y, p=p)

    xs = [x.detach() for x in features(dtype=torch.float32)]
    program = torch.export.export(Loss(), tuple(xs))
    torch.testing.assert_close(program.module()(*xs), feature_affinity(*xs, p=p))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(p=3), ValueError, r"p must be 1 or 2, got 3"),
        (dict(feature2=torch.rand(2, 3, 6, 8)), ValueError, r"one batch and size.*\(2, 3, 6, 8\)"),
        (dict(feature2=torch.rand(1, 3, 6, 9)), ValueError, r"one batch and size.*\(1, 3, 6, 9\)"),
        (dict(feature1=torch.rand(2, 6, 9)), ValueError, r"feature1 must be \(B, C, H, W\)"),
        (dict(feature2=torch.rand(2, 0, 6, 9)), ValueError, r"feature2 .*\(2, 0, 6, 9\)"),
        (
            dict(feature1=torch.ones(2, 5, 6, 9, dtype=torch.int64)),
            TypeError,
            r"feature1 must be floating point, got torch.int64",
        ),
    ],
)
def test_bad_input(change, error, message):
    feature1, feature2 = features(dtype=torch.float32)
    with pytest.raises(error, match=message):
        feature_affinity(**{**dict(feature1=feature1, feature2=feature2), **change})
