"""Our modules for the CPNet cases."""

from __future__ import annotations

import re

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_papers.models.decode_heads import CPHead
from mmseg_papers.models.layers import AggregationModule
from mmseg_papers.models.losses import AffinityLoss, label_of_positions
from mmseg_papers.ops import affinity_loss

from ..data.reference import fill
from . import Build, Case


def build(case: Case) -> Build:
    """The module of a case and how to call it."""
    call = case.spec["call"]
    for kind, make in (
        ("AffinityLoss", _affinity_loss),
        ("AggregationModule", _aggregation),
        ("CPHead", _head),
        ("EncoderDecoder", _segmentor),
    ):
        if call.startswith(kind):
            return make(case)
    raise ValueError(f"no module is known for {call}")


def allowed_error(case: Case, name: str, expected: np.ndarray) -> np.ndarray:
    """As the case's notes advise."""
    advice = case.spec["notes"].partition("Advice: ")[2]
    largest = np.abs(expected).max()
    number = r"([\d.e-]*\d)"
    if both := re.search(rf"rtol {number} with atol = {number} \* max", advice):
        rtol, atol = map(float, both.groups())
        return rtol * np.abs(expected) + atol * largest
    of = name if name in advice else "gradients" if name.startswith("grad") else "loss"
    clause = re.search(rf"{of}\S* [ar]tol (?:= )?{number}", advice)
    return np.asarray(float(clause[1]) * largest)


def _arguments(case: Case, cls: str) -> dict:
    """What the case's call hands to a class."""
    text = re.search(rf"{cls}\(((?:[^()]|\([^()]*\))*)\)", case.spec["call"])[1]
    return eval(f"dict({text})", {"BN": dict(type="BN"), "mean": "mean"})


def _label(case: Case, described: dict) -> Tensor:
    """(B, H, W)"""
    how = described["how"]
    if not how.startswith("zeros"):
        return torch.from_numpy(eval(how, {"fill": fill}))
    # One image of a single class, one of classes seen once.
    shape, single, many, ignored, grid, block = re.fullmatch(
        r"zeros\((\(.*?\))\); image 0 all class (\d+); image 1: b = (.+?); b\[(\[.+?\])\] = 255; "
        r"b\.reshape\((.+?)\) repeated (\d+x\d+)",
        how,
    ).groups()
    label = np.zeros(eval(shape), np.int64)
    label[0] = int(single)
    b = eval(many, {"arange": np.arange})
    b[eval(ignored)] = 255
    rows, columns = map(int, block.split("x"))
    label[1] = b.reshape(eval(grid)).repeat(rows, 0).repeat(columns, 1)
    return torch.from_numpy(label)


def _affinity_loss(case: Case) -> Build:
    arguments = _arguments(case, "AffinityLoss")
    assert arguments.pop("reduction") == "mean"
    spec = case.spec["input"]["logit"]
    size = [int(n) for n in re.search(r"prior grid \[(\d+), (\d+)\]", case.spec["call"]).groups()]
    scale, offset = map(float, re.search(r"\* (\S+) \+ (\S+),", spec["how"]).groups())
    noise = np.random.RandomState(spec["seed"]).standard_normal(spec["shape"])
    by_query = torch.from_numpy((noise * scale + offset).astype(np.float32)).requires_grad_()
    # Ours keeps what rounds to 1 in the authors' float32 probabilities.
    arguments["clamped_bce"] = bool(by_query.abs().max() > 12)
    label = _label(case, case.spec["input"]["label"])[:, None]

    @torch.enable_grad()
    def call(loss: AffinityLoss, _) -> dict[str, Tensor]:
        positions = label_of_positions(label, size)
        logits = by_query.transpose(1, 2).unflatten(2, size)
        value = loss(logits, positions)
        (grad,) = torch.autograd.grad(value, by_query)
        prior = by_query.detach().sigmoid()
        return {
            "loss": value.reshape(1),
            "parts": affinity_loss(logits, positions, clamped_bce=loss.clamped_bce),
            "grad_logit": grad,
            "grad_prior": grad / (prior * (1 - prior)),
            "affinity": (positions[:, :, None] == positions[:, None]).float(),
            "label_small": positions.unflatten(1, size).float(),
        }

    return AffinityLoss(**arguments), call


def _aggregation(case: Case) -> Build:
    return AggregationModule(**_arguments(case, "AggregationModule")), lambda net, xs: {
        "out": net(xs[0])
    }


def _head(case: Case) -> Build:
    head = CPHead(**_arguments(case, "CPHead"))
    if "losses(" in case.spec["call"]:
        return head, lambda net, xs: _losses(case, net, xs)

    def call(net: CPHead, xs: list[Tensor]) -> dict[str, Tensor]:
        logits, prior = net.forward_with_prior(xs)
        torch.testing.assert_close(net(xs), logits)  # streamed
        return {"logits": logits, "prior": prior, "value": net.aggregation(xs[0])}

    return head, call


@torch.enable_grad()
def _losses(case: Case, head: CPHead, xs: list[Tensor]) -> dict[str, Tensor]:
    head.train("), train" in case.spec["call"])
    x = xs[0].requires_grad_()
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=label[None]))
        for label in _label(case, case.spec["input"]["label"])
    ]
    losses = head.loss([x], samples, {})
    found = {"loss_seg": losses["loss_ce"], "loss_prior": losses["loss_prior"]}
    sum(found.values()).backward()
    found = {name: loss.reshape(1) for name, loss in found.items()}
    found["grad_input"] = x.grad
    for name in case.spec["outputs"]:
        kind, _, key = name.partition(":")
        if kind == "grad":
            found[name] = head.get_parameter(key).grad
        elif kind == "new":
            found[name] = head.get_buffer(key).clone()
    found["logits"], found["prior"] = head.forward_with_prior([x])
    return found


def _segmentor(case: Case) -> Build:
    call = case.spec["call"]
    head = _arguments(case, "CPHead")
    norm_cfg = dict(type="BN")
    dilations, strides = (
        eval(re.search(rf"{name} ([\d,]*\d)", call)[1]) for name in ("dilations", "strides")
    )
    channels, convs, classes = map(
        int,
        re.search(r"auxiliary\((\d+) channels, (\d+) conv, num_classes=(\d+)", call).groups(),
    )
    model = MODELS.build(
        dict(
            type="FusedEncoderDecoder",
            backbone=dict(
                type="ResNetV1c",
                depth=int(re.search(r"depth (\d+)", call)[1]),
                dilations=dilations,
                strides=strides,
                contract_dilation="contract_dilation" in call,
                norm_cfg=norm_cfg,
            ),
            decode_head=dict(
                type="CPHead", in_channels=2048, in_index=3, norm_cfg=norm_cfg, **head
            ),
            auxiliary_head=dict(
                type="FCNHead",
                in_channels=1024,
                in_index=2,
                channels=channels,
                num_convs=convs,
                concat_input=False,
                num_classes=classes,
                norm_cfg=norm_cfg,
            ),
            test_cfg=dict(mode="whole"),
        )
    )

    def outputs(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        maps = net.extract_feat(xs[0])
        logits, prior = net.decode_head.forward_with_prior(maps)
        return {
            "logits": logits,
            "prior": prior,
            "aux_logits": net.auxiliary_head(maps),
            "whole": torch.stack([s.seg_logits.data for s in net(xs[0], mode="predict")]),
            "c5": maps[3],
        }

    return model, outputs
