"""Our modules for the SPNet cases."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.models.backbones.resnet import Bottleneck
from mmseg.models.utils import ResLayer
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_papers.models.decode_heads import SPHead
from mmseg_papers.models.layers import MixedPoolingModule, StripPoolingModule

from ..data.reference import fill
from . import Build, Case

NORM = dict(type="BN")


def build(case: Case) -> Build:
    """The module of a case and how to call it."""
    theirs = case.spec["call"].split("(")[0]
    module, call = {
        "SPBlock": _strip_pooling,
        "Bottleneck": _bottleneck,
        "StripPooling": _mixed_pooling,
        "SPHead": _head,
        "SPNet": _segmentor,
    }[theirs](case)
    if case.is_training and theirs != "SPNet":
        return module, partial(_train_step, case)
    return module, call


def _option(case: Case, name: str, default: str | None = None) -> str:
    found = re.search(rf"\b{name}[=:] ?(\([^)]*\)|[^,)}}]+)", case.spec["call"])
    assert found or default is not None, f"{case.name} has no {name}"
    return found[1].strip("'\"") if found else default


def _strip_pooling(case: Case) -> Build:
    module = StripPoolingModule(case.spec["keys"]["conv1.weight"][0])
    return module, lambda net, xs: dict(gate=net.gate(xs[0]), gated=net(xs[0]))


def _mixed_pooling(case: Case) -> Build:
    bins = tuple(map(int, re.findall(r"\d+", _option(case, "pool_size"))))
    module = MixedPoolingModule(
        int(_option(case, "in_channels")),
        bins,
        align_corners=_option(case, "align_corners") == "True",
    )
    parts = dict(
        conv2_0=module.full_conv,
        conv2_1=module.bin_convs[0],
        conv2_2=module.bin_convs[1],
        conv2_3=module.column_conv,
        conv2_4=module.row_conv,
        conv2_5=module.short_conv,
        conv2_6=module.long_conv,
    )
    return module, partial(_with_parts, parts)


def _bottleneck(case: Case) -> Build:
    inplanes, planes, stride, dilation = (
        int(_option(case, name)) for name in ("inplanes", "planes", "stride", "dilation")
    )
    plugins = [dict(cfg=dict(type="StripPoolingModule"), position="after_conv2")]
    make = partial(
        Bottleneck, plugins=plugins if _option(case, "spm_on", "False") == "True" else None
    )
    make.expansion = Bottleneck.expansion
    if "downsample.0.weight" in case.spec["keys"]:
        stage = ResLayer(make, inplanes, planes, 1, stride=stride, dilation=dilation)
        module = stage[0]
    else:
        module = make(inplanes=inplanes, planes=planes, stride=stride, dilation=dilation)
    return module, lambda net, xs: dict(out=net(xs[0]))


def _head(case: Case) -> Build:
    head = SPHead(
        int(_option(case, "in_channels")),
        num_classes=int(_option(case, "out_channels")),
        align_corners=_option(case, "align_corners") == "True",
        norm_cfg=NORM,
    )
    return head, lambda net, xs: dict(logits=net(xs))


def _segmentor(case: Case) -> Build:
    classes = int(_option(case, "nclass"))
    spm = dict(cfg=dict(type="StripPoolingModule"), position="after_conv2")
    plugins = [
        dict(spm, stages=(True, True, True, False), blocks=(-1,)),
        dict(spm, stages=(False, False, False, True)),
    ]
    loss = dict(type="CrossEntropyLoss", avg_non_ignore=True)
    head = dict(num_classes=classes, norm_cfg=NORM, align_corners=True, dropout_ratio=0.0)
    model = MODELS.build(
        dict(
            type="FusedEncoderDecoder",
            backbone=dict(
                type="PluginResNetV1c",
                depth=int(re.search(r"\d+", _option(case, "backbone"))[0]),
                stem_channels=128,
                strides=(1, 2, 1, 1),
                dilations=(1, 1, 2, 4),
                multi_grid=(4, 8, 16),
                contract_dilation=True,
                norm_cfg=NORM,
                plugins=plugins if _option(case, "spm_on", "False") == "True" else None,
            ),
            decode_head=dict(head, type="SPHead", in_channels=2048, loss_decode=loss),
            auxiliary_head=dict(
                head,
                type="FCNHead",
                in_channels=1024,
                in_index=2,
                channels=256,
                num_convs=1,
                concat_input=False,
                loss_decode=dict(loss, loss_weight=0.4),
            )
            if _option(case, "aux", "True") == "True"
            else None,
            test_cfg=dict(mode="whole"),
        )
    )
    if case.is_training:
        return model, partial(_segmentor_train_step, case)
    return model, partial(_segmentor_outputs, case)


def _segmentor_outputs(case: Case, net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
    maps = net.backbone(xs[0])
    found = dict(zip(("c1", "c2", "c3", "c4"), maps, strict=True))
    found.update(logits=net.encode_decode(xs[0], [{"img_shape": xs[0].shape[2:]}]))
    found.update(head_logits=net.decode_head(maps))
    if net.with_auxiliary_head:
        found.update(aux_logits=net.auxiliary_head(maps))
    return {name: found[name] for name in case.spec["outputs"]}


def _segmentor_train_step(case: Case, net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
    shape, classes, seed = re.match(
        r"label_map\(\(([\d,]+)\), (\d+), (\d+)\)", case.spec["input"]["labels"]
    ).groups()
    shape = tuple(map(int, shape.split(",")))
    labels = torch.from_numpy(fill.label_map(shape, int(classes), int(seed)))
    meta = dict(img_shape=shape[1:], ori_shape=shape[1:], pad_shape=shape[1:])
    samples = [SegDataSample(gt_sem_seg=PixelData(data=y[None]), metainfo=meta) for y in labels]
    losses = net(xs[0], samples, mode="loss")
    main, weighted_aux = losses["decode.loss_ce"], losses["aux.loss_ce"]
    total = main + weighted_aux
    total.backward()
    return dict(main_loss=main, aux_loss=weighted_aux / 0.4, total=total, **case.trained(net))


def _train_step(case: Case, net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
    seed = int(re.search(r"RandomState\((\d+)\)", case.spec["input"]["upstream"])[1])
    x = xs[0].requires_grad_()
    out = net([x] if isinstance(net, SPHead) else x)
    upstream = np.random.RandomState(seed).standard_normal(out.shape).astype(np.float32)
    out.backward(torch.from_numpy(upstream).to(out))
    name = next(iter(case.spec["outputs"]))
    return {name: out, "grad_input": x.grad, **case.trained(net)}


def _with_parts(parts: dict[str, nn.Module], net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, part in parts.items():
        part.register_forward_hook(lambda _m, _x, y, name=name: found.update({name: y.clone()}))
    found["out"] = net(xs[0])
    return found
