"""Losses, log keys and gradients of the fused segmentors against mmseg's."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS
from torch import nn

from mmseg_papers import LINE
from mmseg_papers.models.decode_heads import CPHead
from mmseg_papers.models.segmentors import fused_encoder_decoder, fused_loss

from .tiny_models import (
    NUM_CLASSES,
    OCR,
    SEP_ASPP,
    Largest,
    auxiliary,
    build_pair,
    head,
    images,
    labelled,
    model_config,
)


@pytest.fixture
def paths(monkeypatch):
    """What the debug log says."""
    lines = []
    monkeypatch.setattr(
        fused_encoder_decoder, "print_log", lambda line, logger, level: lines.append(line)
    )
    return lines


def step(model, inputs, samples):
    torch.manual_seed(7)  # dropout
    losses = model.train().loss(inputs, samples)
    total, _ = model.parse_losses(losses)
    total.backward()
    return losses, {name: p.grad for name, p in model.named_parameters()}


def assert_same_gradients(grads, expected, tol):
    # Some gradients are zero but for rounding: those of a conv's bias before batch norm.
    largest = max(grad.abs().max() for grad in expected.values() if grad is not None)
    for name, grad in expected.items():
        if grad is None:
            assert grads[name] is None
            continue
        atol = tol * (grad.abs().max() + 1e-2 * largest).item()
        torch.testing.assert_close(grads[name], grad, rtol=0, atol=atol + 1e-14)


def assert_same_step(config, samples=None, dtype=torch.float64, loss_tol=1e-10, grad_tol=1e-9):
    theirs, ours = build_pair(config, dtype=dtype)
    inputs = images(dtype=dtype)
    samples = samples or labelled()
    (expected, expected_grads), (got, grads) = (step(m, inputs, samples) for m in (theirs, ours))
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert got[name].shape == value.shape, name
        tol = 1e-6 if "acc" in name else loss_tol
        torch.testing.assert_close(got[name], value, rtol=tol, atol=1e-12, msg=name)
    assert_same_gradients(grads, expected_grads, grad_tol)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer)
    return ours


@pytest.mark.parametrize(
    ("decode_head", "auxiliary_head"),
    [
        (head(), None),
        (head(align_corners=True), auxiliary(align_corners=True)),
        (head("PSPHead", pool_scales=(1, 2)), [auxiliary(), auxiliary(channels=4)]),
        (head(**SEP_ASPP), auxiliary()),
        (OCR, None),
        ([*OCR, OCR[1]], auxiliary()),
    ],
    ids=["fcn", "align_corners", "psp_two_aux", "sep_aspp_aux", "ocr", "three_stages_aux"],
)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_heads(decode_head, auxiliary_head, precision, paths):
    tolerances = dict(loss_tol=1e-6, grad_tol=1e-4) if precision == "float32" else {}
    config = model_config(decode_head, auxiliary_head)
    assert_same_step(config, dtype=getattr(torch, precision), **tolerances)
    heads = sum(
        len(h) if isinstance(h, list) else h is not None for h in (decode_head, auxiliary_head)
    )
    assert len(paths) == heads
    assert all("fused operation" in path for path in paths)


@pytest.mark.parametrize("dropout_ratio", [0, 0.1])
def test_stages_of_a_cascade_run_once_unless_dropout_draws_anew(dropout_ratio):
    config = model_config([dict(OCR[0], dropout_ratio=dropout_ratio), OCR[1]])
    theirs, ours = build_pair(config, dtype=torch.float64)
    inputs, samples = images(dtype=torch.float64), labelled()
    (expected, expected_grads), (got, grads) = (step(m, inputs, samples) for m in (theirs, ours))
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-12)
    assert_same_gradients(grads, expected_grads, 1e-9)
    times = [model.decode_head[0].convs[0].bn.num_batches_tracked for model in (theirs, ours)]
    assert times == [2, 2 if dropout_ratio else 1]


CE = dict(type="CrossEntropyLoss")
WEIGHT = [0.5 + 0.1 * i for i in range(NUM_CLASSES)]
PROB_OHEM = dict(type="ProbOhemCrossEntropyLoss", min_kept=500)


@pytest.mark.parametrize(
    "options",
    [
        dict(loss_decode=dict(CE, avg_non_ignore=True, loss_weight=0.3)),
        dict(loss_decode=dict(CE, reduction="sum")),
        dict(loss_decode=dict(CE, reduction="none")),
        dict(loss_decode=dict(type="WeightedCrossEntropyLoss", class_weight=WEIGHT)),
        dict(loss_decode=dict(type="WeightedCrossEntropyLoss", reduction="sum")),
        dict(loss_decode=[CE, dict(CE, loss_weight=0.3), dict(CE, loss_name="loss_b")]),
        dict(loss_decode=[CE, dict(type="DiceLoss")]),
        dict(loss_decode=[dict(type="SoftDiceLoss"), CE, dict(type="SoftDiceLoss", smooth=0.0)]),
        dict(loss_decode=[CE, dict(type="SoftmaxFocalLoss", class_weight=WEIGHT)]),
        dict(loss_decode=dict(type="SoftmaxFocalLoss", gamma=0.5)),
        dict(loss_decode=dict(PROB_OHEM, class_weight=WEIGHT)),
        dict(ignore_index=3),
        dict(sampler=dict(type="OHEMPixelSampler", thresh=0.1, min_kept=100)),
        dict(sampler=dict(type="OHEMPixelSampler", thresh=0.01, min_kept=500)),
        dict(sampler=dict(type="OHEMPixelSampler", thresh=0.1, min_kept=10**6)),
        dict(sampler=dict(type="OHEMPixelSampler", min_kept=100)),
        dict(
            sampler=dict(type="OHEMPixelSampler", min_kept=100),
            loss_decode=[
                dict(type="WeightedCrossEntropyLoss", class_weight=WEIGHT),
                dict(CE, loss_weight=0.3, avg_non_ignore=True),
            ],
        ),
    ],
    ids=str,
)
def test_losses(options, paths):
    samples = labelled()
    if options.get("ignore_index") == 3:
        for sample in samples:
            sample.gt_sem_seg.data[sample.gt_sem_seg.data == 255] = 3
    assert_same_step(model_config(head(**options)), samples)
    assert "fused operation" in paths[0]


def test_lovasz_beside_cross_entropy(paths):
    """In float32, since mmseg's mixes precisions in others."""
    losses = [CE, dict(type="LovaszLoss", per_image=True)]
    config = model_config(head(loss_decode=losses))
    assert_same_step(config, dtype=torch.float32, loss_tol=1e-6, grad_tol=1e-4)
    assert "fused operation" in paths[0]


BINARY = dict(num_classes=2, out_channels=1, threshold=0.4)
SIGMOID = dict(CE, use_sigmoid=True)


@pytest.mark.parametrize(
    "loss",
    [
        SIGMOID,
        dict(SIGMOID, avg_non_ignore=True, loss_weight=0.3),
        dict(SIGMOID, class_weight=[3.0]),
        dict(SIGMOID, reduction="sum"),
        [SIGMOID, dict(type="SoftDiceLoss")],
    ],
    ids=str,
)
def test_one_output_channel(loss, paths):
    # In float32, since mmseg's loss is float32 in any case.
    theirs, ours = build_pair(model_config(head(**BINARY, loss_decode=loss, dropout_ratio=0)))
    inputs, samples = images(), labelled(num_classes=2)
    (expected, expected_grads), (got, grads) = (step(m, inputs, samples) for m in (theirs, ours))
    assert "fused operation" in paths[0]
    label = torch.cat([sample.gt_sem_seg.data for sample in samples])
    with torch.no_grad():
        logits = torch.nn.functional.interpolate(ours(inputs), label.shape[1:], mode="bilinear")
    right = ((logits[:, 0].sigmoid() > 0.4) == label)[label != 255]
    # mmseg's acc_seg is the share of class 0.
    accuracy, background = got.pop("decode.acc_seg"), expected.pop("decode.acc_seg")
    for value, share in ((accuracy, right), (background, (label == 0)[label != 255])):
        torch.testing.assert_close(
            value.item(), 100 * share.double().mean().item(), rtol=1e-6, atol=0
        )
    assert list(got) == list(expected)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)
    assert_same_gradients(grads, expected_grads, 1e-4)


def test_one_output_channel_with_two_class_weights():
    """mmseg's cannot weigh the background."""
    loss = dict(SIGMOID, class_weight=[0.5, 3.0])
    config = model_config(head(**BINARY, loss_decode=loss, dropout_ratio=0))
    _, ours = build_pair(config, dtype=torch.float64)
    inputs, samples = images(dtype=torch.float64), labelled(num_classes=2)
    got = ours.loss(inputs, samples)["decode.loss_ce"]
    label = torch.cat([sample.gt_sem_seg.data for sample in samples])
    logits = torch.nn.functional.interpolate(ours(inputs), label.shape[1:], mode="bilinear")[:, 0]
    target = (label == 1).double()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weight = torch.where(label == 1, 3.0, 0.5) * (label != 255)
    torch.testing.assert_close(got, (loss * weight).mean(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("loss", [SIGMOID, dict(SIGMOID, class_weight=[3.0])], ids=str)
def test_labels_beyond_the_two_of_one_channel(loss):
    config = model_config(head(**BINARY, loss_decode=loss), type="FusedEncoderDecoder")
    with pytest.raises(ValueError, match=r"label holds \d, .* 2 classes 0\.\.1"):
        MODELS.build(config).loss(images(), labelled(num_classes=9))


@pytest.mark.parametrize("options", [dict(num_classes=1), dict(num_classes=2, out_channels=1)])
def test_soft_max_of_one_channel_is_refused(options):
    config = ConfigDict(model_config(head(**options)), type="FusedEncoderDecoder")
    with pytest.raises(ValueError, match=r"loss is 0 .*num_classes=2.*use_sigmoid=True.*or"):
        MODELS.build(config)


def test_a_threshold_that_nothing_reads_is_let_be():
    aux = auxiliary(**dict(BINARY, threshold=0.0), loss_decode=dict(type="DiceLoss"))
    config = model_config(head(**BINARY, loss_decode=SIGMOID), aux, type="FusedEncoderDecoder")
    assert MODELS.build(config).loss(images(), labelled(num_classes=2))["aux.loss_dice"].isfinite()


@pytest.mark.parametrize("others", [[], [dict(type="CrossEntropyLoss")]])
def test_focal_loss_of_mmseg_trains_on_a_gpu_only(others):
    """A model trained there still predicts on the CPU."""
    loss = [dict(type="FocalLoss"), *others]
    model = MODELS.build(model_config(head(loss_decode=loss), type="FusedEncoderDecoder"))
    model.eval().predict(images())
    with pytest.raises(ValueError, match=r"FCNHead needs CUDA for \d+ outputs; .*SoftmaxFocalLoss"):
        step(model, images(), labelled())


class OwnLoss(FCNHead):
    """A project's head, whose loss is none of ``loss_decode``."""

    def loss_by_feat(self, seg_logits, batch_data_samples):
        label = self._stack_batch_gt(batch_data_samples)
        full = nn.functional.interpolate(seg_logits, label.shape[2:], mode="bilinear")
        return dict(loss_l1=(full - label).abs().mean())


@pytest.mark.parametrize("options", [dict(num_classes=1), dict(loss_decode=dict(type="FocalLoss"))])
def test_a_loss_of_a_project_is_not_judged_by_loss_decode(options):
    assert_same_step(model_config(head(OwnLoss, **options)))


class OwnPart(CPHead):
    """A project's head with other losses besides."""

    def forward_with_losses(self, inputs, data_samples):
        scores, losses = super().forward_with_losses(inputs, data_samples)
        return scores, {name: 2 * value for name, value in losses.items()}


def test_a_part_of_the_losses_of_a_project(paths):
    prior = dict(prior_channels=4, prior_size=(5, 6), am_kernel_size=3)
    assert_same_step(model_config(head(OwnPart, **prior)))
    assert paths[0].endswith("fused operation")


@pytest.mark.parametrize("base", [CPHead, OwnPart])
def test_a_loss_of_a_project_takes_the_place_of_a_papers(base):
    class Halving(base):
        def loss(self, inputs, batch_data_samples, train_cfg):
            losses = super().loss(inputs, batch_data_samples, train_cfg)
            return {name: 0.5 * value for name, value in losses.items()}

    prior = dict(prior_channels=4, prior_size=(5, 6), am_kernel_size=3)
    assert_same_step(model_config(head(Halving, **prior)))


@pytest.mark.parametrize("method", ["forward", "_forward_feature", "_transform_inputs"])
def test_a_head_of_a_project_may_make_its_maps(method):
    class Projecting(FCNHead):
        def __init__(self, **options):
            super().__init__(**options)
            self.project = nn.Conv2d(12, self.in_channels, 1)

    def projected(self, inputs):
        return getattr(FCNHead, method)(self, [inputs[0], self.project(inputs[1])])

    setattr(Projecting, method, projected)
    assert_same_step(model_config(head(Projecting, in_channels=5)))


def test_class_weight_of_mmsegs_loss():
    config = model_config(head(loss_decode=dict(CE, class_weight=WEIGHT)))
    assert_same_step(config, labelled(ignored=0))


@pytest.mark.parametrize("avg_non_ignore", [False, True])
def test_class_weight_with_ignored_pixels_works(avg_non_ignore):
    """mmseg raises an IndexError here, depending on its version and avg_non_ignore."""
    loss = dict(CE, class_weight=WEIGHT, avg_non_ignore=avg_non_ignore)
    _, ours = build_pair(model_config(head(loss_decode=loss, dropout_ratio=0)), dtype=torch.float64)
    inputs, samples = images(dtype=torch.float64), labelled()
    got = ours.loss(inputs, samples)["decode.loss_ce"]
    label = torch.cat([sample.gt_sem_seg.data for sample in samples])
    logits = torch.nn.functional.interpolate(ours(inputs), label.shape[1:], mode="bilinear")
    weight = torch.tensor(WEIGHT, dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(logits, label, weight, ignore_index=255)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "part",
    [
        dict(type="LowResolutionFCNHead"),
        dict(type="RefineNetHead", in_channels=[8, 12], channels=[4, 4], in_index=[0, 1])
        | dict(cascade=(1, 2)),
    ],
    ids=lambda part: part["type"],
)
def test_class_weight_where_the_loss_is_low_resolution(part):
    weighted = dict(CE, class_weight=WEIGHT, avg_non_ignore=True)
    config = model_config(head(**part, loss_decode=weighted), type="FusedEncoderDecoder")
    # The other line's mmseg fails at ignored pixels only, which the data may not have.
    if LINE == "onedl":
        with pytest.raises(ValueError, match=rf"{part['type']} fails .*'WeightedCrossEntropyLoss'"):
            MODELS.build(config)
    else:
        MODELS.build(config).loss(images(), labelled(ignored=0))
    weighted = dict(type="WeightedCrossEntropyLoss", class_weight=WEIGHT)
    config = model_config(head(**part, loss_decode=weighted), type="FusedEncoderDecoder")
    losses = MODELS.build(config).loss(images(), labelled())
    assert losses["decode.loss_ce"].isfinite()


@pytest.mark.parametrize(
    "options",
    [
        dict(sampler=dict(type="OHEMPixelSampler", min_kept=100)),
        dict(sampler=dict(type="OHEMPixelSampler", thresh=0.5, min_kept=100)),
        dict(loss_decode=dict(type="SoftmaxFocalLoss", gamma=0.5)),
    ],
    ids=str,
)
def test_every_pixel_ignored(options):
    assert_same_step(model_config(head(**options), auxiliary()), labelled(ignored=1.1))


@pytest.mark.parametrize(
    ("decode_head", "reason"),
    [
        (head(loss_decode=dict(type="DiceLoss")), "DiceLoss is not cross entropy"),
        (head(loss_decode=dict(CE, use_sigmoid=True)), "computes binary_cross_entropy"),
        (
            head(
                loss_decode=[CE, dict(type="SoftDiceLoss")],
                sampler=dict(type="OHEMPixelSampler", thresh=0.3),
            ),
            "SoftDiceLoss is not cross entropy and there is a sampler",
        ),
        (
            head("EncHead", num_codes=4, in_channels=[8, 12], in_index=[0, 1]),
            "EncHead has a loss_by_feat of its own",
        ),
        pytest.param(
            [
                auxiliary(),
                head(
                    "PointHead",
                    in_channels=[12],
                    in_index=[1],
                    channels=12,
                    num_fcs=1,
                    norm_cfg=None,
                ),
            ],
            "PointHead has a loss of its own",
            marks=pytest.mark.compiled_mmcv,
        ),
    ],
    ids=["dice", "sigmoid", "ce_and_dice_with_ohem", "enc", "point"],
)
def test_falls_back(decode_head, reason, paths):
    train_cfg = ConfigDict(num_points=16, oversample_ratio=3, importance_sample_ratio=0.75)
    config = model_config(decode_head, auxiliary(), train_cfg=train_cfg)
    # PointHead takes float32 only.
    assert_same_step(config, dtype=torch.float32, loss_tol=1e-6, grad_tol=1e-4)
    assert any(reason in path for path in paths)
    assert "loss of aux (FCNHead): fused operation" in paths


def test_boundary_loss_of_stdc_falls_back(paths):
    loss = dict(CE, use_sigmoid=True)
    stdc = head("STDCHead", num_classes=2, out_channels=1, threshold=0.4, loss_decode=loss)
    assert_same_step(model_config(head(), dict(stdc, boundary_threshold=0.1)))
    assert "STDCHead has a loss_by_feat of its own" in paths[1]


def test_loss_that_no_base_head_can_call_fails_as_in_mmseg():
    config = model_config(head(loss_decode=dict(type="OhemCrossEntropy")))
    for model in build_pair(config):
        with pytest.raises(TypeError, match="unexpected keyword argument 'weight'"):
            model.loss(images(), labelled())


@pytest.mark.parametrize("sampler", [None, dict(type="OHEMPixelSampler", thresh=0.3, min_kept=100)])
def test_mixed_precision(sampler):
    config = model_config(head(dropout_ratio=0, sampler=sampler), auxiliary(dropout_ratio=0))
    inputs, samples = images(), labelled()
    results = []
    for model in build_pair(config):
        with torch.autocast("cpu", torch.bfloat16):
            losses = model.train().loss(inputs, samples)
        model.parse_losses(losses)[0].backward()
        results.append((losses, model.backbone.stem[0].weight.grad))
    (expected, expected_grad), (got, grad) = results
    for name, value in expected.items():
        torch.testing.assert_close(got[name].float(), value.float(), rtol=0.03, atol=1)
        if "loss" in name:
            torch.testing.assert_close(got[name].float(), value.float(), rtol=0.01, atol=0)
    similarity = torch.cosine_similarity(grad.flatten(), expected_grad.flatten(), dim=0)
    assert similarity > 0.99


def test_loss_set_on_a_head_is_used(paths):
    _, ours = build_pair(model_config(head()))
    ours.decode_head.loss_by_feat = lambda logits, samples: {"loss_x": logits.sum()}
    assert list(ours.loss(images(), labelled())) == ["decode.loss_x"]


def test_path_is_logged_once(paths):
    _, ours = build_pair(model_config(head(), auxiliary()))
    for _ in range(2):
        ours.loss(images(), labelled())
    assert paths == [
        "loss of decode (FCNHead): fused operation",
        "loss of aux (FCNHead): fused operation",
    ]


def test_compiled_model_takes_the_fused_path(paths):
    _, ours = build_pair(model_config(head(dropout_ratio=0)))
    inputs, samples = images(), labelled()
    expected = ours.loss(inputs, samples)
    ours._logged_paths.clear()
    paths.clear()
    got = torch.compile(ours.loss, backend="eager")(inputs, samples)
    torch.testing.assert_close(got, expected)
    with torch.no_grad():
        expected = ours.eval()(inputs, None, mode="predict")
        ours._logged_paths.clear()
        got = torch.compile(ours.forward, backend="eager")(inputs, None, mode="predict")
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a.pred_sem_seg.data, b.pred_sem_seg.data)
        torch.testing.assert_close(a.seg_logits.data, b.seg_logits.data)
    assert {path.split(": ")[1] for path in paths} == {"fused operation"}


@pytest.mark.parametrize("sampler", [None, dict(type="OHEMPixelSampler", min_kept=100)])
def test_full_resolution_logits_never_exist(sampler):
    size = (256, 320)
    full_map = NUM_CLASSES * 2 * size[0] * size[1]
    largest = []
    for model in build_pair(model_config(head(sampler=sampler))):
        with Largest() as mode:
            step(model, images(size=size), labelled(size=size))
        largest.append(mode.elements)
    assert largest[0] >= full_map
    assert largest[1] < 0.3 * full_map


def test_loss_curves_agree():
    inputs, samples = images(4), labelled(4)
    pair = build_pair(model_config(head(), auxiliary()))
    curves = []
    for model in pair:
        torch.manual_seed(3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        curve = []
        for _ in range(50):
            total, _ = model.parse_losses(model.train().loss(inputs, samples))
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            curve.append(total.item())
        curves.append(curve)
    assert curves[0][-1] < 0.9 * curves[0][0]
    torch.testing.assert_close(torch.tensor(curves[1]), torch.tensor(curves[0]), rtol=1e-4, atol=0)
    assert fused_loss.why_loss_is_not_fused(pair[1].decode_head) is None
