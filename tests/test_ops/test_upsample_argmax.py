"""upsample_argmax against its plain form and mmseg: labels, confidence, memory, compilation."""

import importlib
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.structures import SegDataSample
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from mmseg_papers.ops.upsample_argmax import upsample_argmax, upsample_argmax_reference

SIZES = [((5, 7), (33, 41)), ((9, 4), (20, 21)), ((1, 1), (12, 12)), ((40, 30), (21, 19))]
AFTERWARDS = [
    dict(),
    dict(crop=(1, 2, 3, 0)),
    dict(crop=(0, 3, 0, 4), flip="horizontal"),
    dict(flip="vertical"),
    dict(crop=(1, 0, 2, 1), out_size=(11, 25)),
    dict(crop=(2, 1, 0, 1), flip="horizontal", out_size=(31, 9)),
    dict(crop=(2, 1, 0, 1), flip="vertical", out_size=(1, 40)),
]


def module():
    return importlib.import_module("mmseg_papers.ops.upsample_argmax")


@pytest.mark.parametrize("afterwards", AFTERWARDS)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("in_size", "size"), SIZES)
@pytest.mark.parametrize("bytes_at_a_time", [1, 20_000])
def test_labels_and_confidence(
    in_size, size, align_corners, afterwards, bytes_at_a_time, monkeypatch
):
    monkeypatch.setattr(module(), "CHUNK_BYTES", bytes_at_a_time)
    monkeypatch.setattr(module(), "STRIP_BYTES", 2 * bytes_at_a_time)
    torch.manual_seed(0)
    options = dict(align_corners=align_corners, with_confidence=True, **afterwards)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        logits = torch.randn(2, 6, *in_size, dtype=torch.float64).to(memory_format=memory_format)
        labels, confidence = upsample_argmax(logits, size, **options)
        expected, probability = upsample_argmax_reference(logits, size, **options)
        assert labels.dtype == torch.uint8
        assert torch.equal(labels, expected)
        torch.testing.assert_close(confidence, probability, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("classes", "in_size", "size"),
    [(19, (32, 64), (256, 512)), (150, (17, 23), (129, 183)), (5, (200, 180), (133, 97))],
)
def test_float32_values_are_those_of_pytorch(classes, in_size, size, align_corners):
    """Not only the labels: a label would hide a difference of the last bits."""
    torch.manual_seed(1)
    logits = torch.randn(classes, *in_size)
    resize = module()._Resize(in_size, size, align_corners, logits)
    expected = F.interpolate(logits[None], size, mode="bilinear", align_corners=align_corners)[0]
    assert torch.equal(resize.rows(logits, 0, size[0]), expected)
    middle = size[0] // 3
    assert torch.equal(resize.rows(logits, middle, middle + 7), expected[:, middle : middle + 7])
    kwargs = dict(align_corners=align_corners, out_size=(130, 141))
    assert torch.equal(
        upsample_argmax(logits[None], size, **kwargs),
        upsample_argmax_reference(logits[None], size, **kwargs),
    )


@pytest.mark.parametrize("flip", [None, "horizontal", "vertical"])
def test_is_what_mmseg_predicts(flip):
    torch.manual_seed(2)
    logits = torch.randn(1, 4, 8, 10)
    sample = SegDataSample(
        metainfo=dict(
            img_padding_size=[1, 2, 3, 4],
            ori_shape=(45, 51),
            flip=flip is not None,
            flip_direction=flip,
        )
    )
    segmentor = SimpleNamespace(align_corners=False)
    padded = F.interpolate(logits, (64, 80), mode="bilinear")
    (result,) = BaseSegmentor.postprocess_result(segmentor, padded, [sample])
    ours = upsample_argmax(logits, (64, 80), crop=(1, 2, 3, 4), flip=flip, out_size=(45, 51))
    assert torch.equal(ours.long(), result.pred_sem_seg.data)


def test_the_first_of_equal_maxima_wins():
    logits = torch.zeros(1, 5, 3, 3)
    logits[:, 2:4] = 1
    assert (upsample_argmax(logits, (7, 7)) == 2).all()
    logits[:, 0] = 1
    assert (upsample_argmax(logits, (7, 7)) == 0).all()
    assert (upsample_argmax(torch.zeros(1, 5, 3, 3), (7, 7)) == 0).all()


@pytest.mark.parametrize(("classes", "dtype"), [(255, torch.uint8), (256, torch.int64)])
def test_label_type(classes, dtype):
    logits = torch.zeros(1, classes, 2, 2)
    logits[:, -1] = 1
    labels = upsample_argmax(logits, (5, 5))
    assert labels.dtype == dtype
    assert (labels == classes - 1).all()
    assert upsample_argmax_reference(logits, (5, 5)).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_resized_in_float32(dtype):
    torch.manual_seed(3)
    logits = torch.randn(2, 7, 6, 5).to(dtype)
    labels, confidence = upsample_argmax(logits, (31, 22), with_confidence=True)
    expected, probability = upsample_argmax_reference(logits, (31, 22), with_confidence=True)
    assert torch.equal(labels, expected)
    assert confidence.dtype == torch.float32
    torch.testing.assert_close(confidence, probability)


def test_nan_gives_a_class_that_exists():
    assert (upsample_argmax(torch.full((1, 3, 2, 2), torch.nan), (4, 4)) <= 2).all()


def test_empty_batch():
    labels, confidence = upsample_argmax(
        torch.rand(0, 3, 4, 4), (8, 8), out_size=(5, 6), with_confidence=True
    )
    assert labels.shape == confidence.shape == (0, 5, 6)


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest result."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.numel = max(
            [self.numel, *(t.numel() for t in tree_flatten(out)[0] if torch.is_tensor(t))]
        )
        return out


@pytest.mark.parametrize("out_size", [None, (500, 400)])
def test_the_resized_logits_are_never_held(out_size, monkeypatch):
    monkeypatch.setattr(module(), "CHUNK_BYTES", 1 << 18)
    monkeypatch.setattr(module(), "STRIP_BYTES", 1 << 18)
    logits = torch.randn(1, 21, 64, 64)
    with LargestTensor() as ours:
        module()._compute(logits, (512, 512), False, (0,) * 4, out_size or (512, 512), None, True)
    assert 512 * 512 >= ours.numel > 0
    with LargestTensor() as plain:
        upsample_argmax_reference(logits, (512, 512), out_size=out_size)
    assert plain.numel == 21 * 512 * 512


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(logits=torch.rand(1, 1, 4, 4)), r"K >= 2 .* got \(1, 1, 4, 4\)"),
        (dict(logits=torch.rand(3, 4, 4)), r"got \(3, 4, 4\)"),
        (dict(logits=torch.rand(1, 3, 0, 4)), r"h, w >= 1, got \(1, 3, 0, 4\)"),
        (dict(size=(8, 0)), r"size must be .* got \(8, 0\)"),
        (dict(out_size=(8,)), r"out_size must be .* got \(8,\)"),
        (dict(crop=(1, 2, 3)), r"crop must be .* got \(1, 2, 3\)"),
        (dict(crop=(0, -1, 0, 0)), "crop must be"),
        (dict(crop=(4, 4, 0, 0)), r"leaves nothing of \(8, 8\)"),
        (dict(flip="diagonal"), "'horizontal' or 'vertical', got 'diagonal'"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=message):
        upsample_argmax(**{"logits": torch.rand(1, 3, 4, 4), "size": (8, 8), **change})


def test_refuses_integers():
    with pytest.raises(TypeError, match=r"floating point, got torch\.int64"):
        upsample_argmax(torch.ones(1, 3, 4, 4, dtype=torch.int64), (8, 8))


def test_logits_that_require_a_gradient():
    labels, confidence = upsample_argmax(
        torch.rand(1, 3, 4, 4, requires_grad=True), (8, 8), with_confidence=True
    )
    assert not labels.requires_grad
    assert not confidence.requires_grad


class Predict(torch.nn.Module):
    def forward(self, logits):
        return upsample_argmax(logits, (20, 24), crop=(1, 2, 3, 4), flip="vertical")


@pytest.mark.torch_2_4
def test_compiles_without_a_graph_break():
    torch._dynamo.reset()
    logits = torch.randn(2, 3, 5, 6)
    compiled = torch.compile(Predict(), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(logits), Predict()(logits))


@pytest.mark.torch_2_5
@pytest.mark.parametrize("with_confidence", [False, True])
def test_the_operator_is_registered_as_torch_wants(with_confidence):
    arguments = ([9, 8], False, [1, 0, 0, 2], [5, 6], "horizontal", with_confidence)
    torch.library.opcheck(
        torch.ops.mmseg_papers.upsample_argmax, (torch.randn(2, 3, 4, 4), *arguments)
    )


@pytest.mark.torch_2_7
def test_an_exported_program_holds_stock_operators_only():
    logits = torch.randn(2, 3, 5, 6)
    program = torch.export.export(Predict(), (logits,))
    targets = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert targets
    assert all(t.startswith("aten.") for t in targets)
    assert torch.equal(program.module()(logits), Predict()(logits))


def run_kernel(logits, size, afterwards, align_corners, with_confidence):
    kernel = importlib.import_module("mmseg_papers.ops.upsample_argmax_triton")
    options = dict(align_corners=align_corners, **afterwards)
    expected, probability = upsample_argmax_reference(logits, size, with_confidence=True, **options)
    labels = torch.full_like(expected, 99)
    confidence = torch.full_like(probability if with_confidence else probability[:0], 99)
    kernel.upsample_argmax_triton(
        logits,
        size,
        align_corners,
        afterwards.get("crop", (0,) * 4),
        tuple(expected.shape[1:]),
        afterwards.get("flip"),
        labels,
        confidence,
    )
    assert torch.equal(labels, expected)
    if with_confidence:
        torch.testing.assert_close(confidence, probability, rtol=1e-5, atol=1e-6)


@pytest.mark.triton_interpreter
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    "afterwards",
    [
        dict(),
        dict(crop=(1, 0, 2, 0), flip="horizontal"),
        dict(crop=(1, 1, 0, 2), flip="vertical", out_size=(3, 8)),
        dict(flip="horizontal", out_size=(8, 3)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_kernel_in_the_interpreter(afterwards, align_corners, dtype):
    torch.manual_seed(4)
    logits = torch.randn(2, 3, 3, 4).to(dtype).to(memory_format=torch.channels_last)
    logits[1, 2] = logits[1, 0]  # the first of equal maxima wins
    run_kernel(logits, (8, 7), afterwards, align_corners, dtype == torch.float64)


@pytest.mark.cuda
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("afterwards", AFTERWARDS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_cuda(afterwards, align_corners, memory_format):
    torch.manual_seed(5)
    logits = torch.randn(2, 19, 33, 41, dtype=torch.float64, device="cuda")
    logits = logits.to(memory_format=memory_format)
    options = dict(align_corners=align_corners, with_confidence=True, **afterwards)
    labels, confidence = upsample_argmax(logits, (130, 170), **options)
    expected, probability = upsample_argmax_reference(logits, (130, 170), **options)
    assert torch.equal(labels, expected)
    torch.testing.assert_close(confidence, probability)


def test_module_form():
    logits = torch.randn(2, 3, 5, 6)
    layer = MODELS.build(dict(type="UpsampleArgmax", size=(9, 11), align_corners=True))
    expected = upsample_argmax_reference(logits, (9, 11), align_corners=True)
    assert torch.equal(layer(logits), expected)
