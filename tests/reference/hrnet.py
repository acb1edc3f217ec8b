"""Our modules for the HRNet cases, built from what the cases' ``call`` and ``keys`` say."""

from __future__ import annotations

import ast
import re

import numpy as np
import torch
from mmseg.models.backbones.resnet import BasicBlock, Bottleneck
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_papers.models.backbones.hrnet import ARCHS, MultiResolutionModule, make_extra
from mmseg_papers.models.decode_heads.ocr_head import ASPOCR
from mmseg_papers.models.layers import ObjectAttention, SpatialOCR, gather_objects
from mmseg_papers.models.necks import HighResolutionFPN

from ..data.reference import fill
from . import Build, Case

#: Revisions of HRNet-Semantic-Segmentation, and openseg.pytorch, whose default is True.
ALIGNED = ("HRNet-Semantic-Segmentation@0bbb2880", "openseg.pytorch")
#: openseg.pytorch's InPlaceABN is also an activation.
LEAKY = dict(type="LeakyReLU", negative_slope=0.01)


def build(case: Case) -> Build:
    """The module of a case and how to call it."""
    kind = re.search(r"\.py:(\w+)", case.spec["source"])[1]
    return BUILDERS.get(kind, _segmentor)(case)


def prepare(case: Case, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a case does to its weights before they are loaded."""
    if "every norm weight with an odd channel index is multiplied by -1" in case.spec["notes"]:
        for key in weights:
            norm, _, name = key.rpartition(".")
            if name == "weight" and f"{norm}.running_mean" in weights:
                weights[key][1::2] *= -1
    return weights


def _number(case: Case, name: str) -> int:
    return int(re.search(rf"\b{name} (-?\d+)", case.spec["call"])[1])


def _align_corners(case: Case) -> bool:
    if said := re.search(r"ALIGN_CORNERS[ =](True|False)", case.spec["call"]):
        return said[1] == "True"
    return any(source in case.spec["source"] for source in ALIGNED)


def _norm_act(case: Case) -> dict:
    act_cfg = LEAKY if "bn_type inplace_abn" in case.spec["call"] else dict(type="ReLU")
    return dict(norm_cfg=dict(type="BN"), act_cfg=act_cfg)


def _module(case: Case) -> Build:
    widths = [spec["shape"][1] for spec in case.spec["input"]]
    blocks = [
        1 + max(int(m[1]) for m in _matches(case, rf"branches\.{r}\.(\d+)\."))
        for r in range(len(widths))
    ]
    call = case.spec["call"]
    planes = [case.spec["keys"][f"branches.{r}.0.conv1.weight"][0] for r in range(len(widths))]
    module = MultiResolutionModule(
        len(widths),
        Bottleneck if _matches(case, r"branches\.0\.0\.conv3") else BasicBlock,
        blocks,
        widths,
        planes,
        "multi_scale_output False" not in call,
        upsample_mode="nearest" if "nearest" in call else "bilinear",
        align_corners=_align_corners(case),
    )
    return module, lambda net, xs: {f"y{i}": y for i, y in enumerate(net(xs))}


def _matches(case: Case, pattern: str) -> list[re.Match]:
    return [m for key in case.spec["keys"] if (m := re.match(pattern, key))]


def _neck(case: Case) -> Build:
    call = case.spec["call"]
    neck = HighResolutionFPN(
        ast.literal_eval(re.search(r"in_channels (\[.*?\])", call)[1]),
        _number(case, "out_channels"),
        num_outs=len(case.spec["outputs"]),
        pooling_type=re.search(r"pooling (\w+)", call)[1],
        share_conv="share_conv True" in call,
    )
    return neck, lambda net, xs: {f"p{i}": y for i, y in enumerate(net(xs))}


def _gather(case: Case) -> Build:
    scale = float(re.search(r"\bscale ([\d.]*\d)", case.spec["call"])[1])  # of their soft-max
    return nn.Identity(), lambda net, xs: {"context": gather_objects(xs[0], scale * xs[1])}


def _attention(case: Case) -> Build:
    block = ObjectAttention(
        _number(case, "in_channels"),
        _number(case, "key_channels"),
        scale=_number(case, "scale"),
        align_corners=_align_corners(case),
        **_norm_act(case),
    )
    return block, lambda net, xs: {"context": net(*xs)}


def _spatial_ocr(case: Case) -> Build:
    block = SpatialOCR(
        _number(case, "in_channels"),
        _number(case, "key_channels"),
        _number(case, "out_channels"),
        scale=_number(case, "scale"),
        align_corners=_align_corners(case),
        **_norm_act(case),
    )
    return block, lambda net, xs: {"out": net(*xs)}


def _asp_ocr(case: Case) -> Build:
    block = ASPOCR(
        _number(case, "features"),
        _number(case, "hidden_features"),
        _number(case, "out_features"),
        ast.literal_eval(re.search(r"dilations (\(.*?\))", case.spec["call"])[1]),
        **_norm_act(case),
    )
    return block, lambda net, xs: {"out": net([xs[0]], xs[1], align_corners=False)}


def _backbone(case: Case) -> dict:
    """The backbone's config: a named variant or a dict of its numbers, and the ablations."""
    call = case.spec["call"]
    dicts = [ast.literal_eval(text) for text in re.findall(r"\{[^{}]*\}", call)]
    if numbers := next((d for d in dicts if "C" in d), None):
        numbers = {"s1": (4, 64), "m": (1, 4, 3), "b": 4} | numbers
    elif named := re.search(r"\bw\d+(_small_v\d)?(?= config)", call):
        numbers = dict(zip(("C", "s1", "m", "b"), ARCHS[named[0]], strict=True))
    else:
        numbers = dict(
            C=int(re.search(r"hrnet(\d+)", call)[1]),
            s1=(4, 64),
            m=tuple(map(int, re.search(r"NUM_MODULES (\d+)/(\d+)/(\d+)", call).groups())),
            b=int(re.search(r"(\d+) blocks per branch", call)[1]),
        )
    extra = make_extra(*(numbers[name] for name in ("C", "s1", "m", "b")))
    branches = next((d["branches"] for d in dicts if "branches" in d), (2, 3, 4))
    for stage, count in zip(("stage2", "stage3", "stage4"), branches, strict=True):
        extra[stage].update(
            num_branches=count,
            num_blocks=(numbers["b"],) * count,
            num_channels=tuple(numbers["C"] * 2**r for r in range(count)),
        )
    scopes = {"last module of each stage fuses": "across", "last module of stage 4 fuses": "final"}
    return dict(
        type="HighResolutionNet",
        extra=extra,
        align_corners=_align_corners(case),
        fusion_scope=next((scopes[text] for text in scopes if f"only the {text}" in call), "all"),
        multiscale_output="multi_scale_output False" not in call,
    )


def _segmentor(case: Case) -> Build:
    backbone, call, keys = _backbone(case), case.spec["call"], case.spec["keys"]
    widths = list(backbone["extra"]["stage4"]["num_channels"])
    outputs = case.spec["outputs"]
    options = dict(
        num_classes=next(iter(outputs.values()))["shape"][1],
        align_corners=backbone["align_corners"],
        **_norm_act(case),
    )
    head = dict(type="HRNetV2Head", in_channels=widths, **options)
    if "aux_head.0.weight" in keys:
        return _cascade(case, backbone, head, options)
    mixing = keys["last_layer.0.weight" if "last_layer.0.weight" in keys else "cls_head.0.weight"]
    head.update(channels=mixing[0], kernel_size=mixing[2])
    if "head on the stride-4 stream only: 1x1 conv C -> 15C" in call:
        head.update(in_channels=widths[:1])
    elif "head on the stride-4 stream only" in call:
        head.update(
            type="FCNHead",
            in_channels=widths[0],
            channels=widths[0],
            in_index=0,
            num_convs=0,
            concat_input=False,
        )
    model = MODELS.build(
        dict(
            type="FusedEncoderDecoder",
            backbone=backbone,
            decode_head=head,
            test_cfg=dict(mode="whole"),
        )
    )
    (name,) = outputs
    return model, lambda net, xs: _resized(case, {name: net(xs[0])}, options["align_corners"])


def _resized(case: Case, logits: dict[str, Tensor], align_corners: bool) -> dict[str, Tensor]:
    """Logits at the sizes of the case's outputs, as the authors' models return them."""
    sizes = {name: tuple(said["shape"][2:]) for name, said in case.spec["outputs"].items()}
    return {
        name: nn.functional.interpolate(
            x, sizes[name], mode="bilinear", align_corners=align_corners
        )
        for name, x in logits.items()
    }


def _cascade(case: Case, backbone: dict, coarse: dict, options: dict) -> Build:
    shapes = {key: shape for key, shape in case.spec["keys"].items() if key.endswith("weight")}
    mixing = shapes["aux_head.0.weight"]
    coarse.update(kernel_size=mixing[2], channels=mixing[0])
    middle = shapes["cls_head.weight"][1]
    head = dict(in_channels=coarse["in_channels"], channels=middle, **options)
    if any(key.startswith("asp_ocr_head.") for key in shapes):
        head.update(type="ASPOCRHead", asp_channels=shapes["asp_ocr_head.conv2.0.weight"][0])
    else:
        key = "ocr_distri_head.object_context_block.f_up.0.weight"
        head.update(type="ObjectContextHead", ocr_channels=shapes[key][1])
    model = MODELS.build(
        dict(
            type="FusedCascadeEncoderDecoder",
            test_cfg=dict(mode="whole"),
            num_stages=2,
            backbone=backbone,
            decode_head=[coarse, head],
        )
    )

    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        maps = net.extract_feat(xs[0])
        aux = net.decode_head[0](maps)
        logits = {"aux": aux, "out": net.decode_head[1](maps, aux)}
        return _resized(case, logits, options["align_corners"])

    return model, run


BUILDERS = {
    "HighResolutionModule": _module,
    "HRFPN": _neck,
    "SpatialGather_Module": _gather,
    "ObjectAttentionBlock2D": _attention,
    "SpatialOCR_Module": _spatial_ocr,
    "SpatialOCR_ASP_Module": _asp_ocr,
}


def loss_heads(case: Case) -> list[nn.Module]:
    """A decode head with the loss of every output of a loss case; the logits are given."""
    call, spec = case.spec["call"], case.spec["input"]
    outputs, class_weight = _number(case, "NUM_OUTPUTS"), spec.get("class_weights")
    balance = ast.literal_eval(re.search(r"BALANCE_WEIGHTS (\[.*?\])", call)[1])
    losses = [dict(type="WeightedCrossEntropyLoss") for _ in range(outputs)]
    if "OhemCrossEntropy" in case.spec["source"]:
        for loss in losses:
            loss.update(reduction="none")
        losses[-1] = dict(
            type="OhemCrossEntropyLoss",
            thres=float(re.search(r"thres ([\d.]+)", call)[1]),
            min_kept=_number(case, "min_kept"),
        )
    return [
        MODELS.build(
            dict(
                type="FCNHead",
                in_channels=4,
                channels=4,
                num_classes=case.spec["outputs"]["grad0"]["shape"][1],
                norm_cfg=dict(type="BN"),
                ignore_index=_number(case, "ignore_label"),
                align_corners=_align_corners(case),
                loss_decode=dict(loss, class_weight=class_weight, loss_weight=weight),
            )
        )
        for loss, weight in zip(losses, balance, strict=True)
    ]


def loss_inputs(case: Case) -> tuple[list[Tensor], Tensor]:
    """Logits of every output at stride 4, and labels, of a loss case, by its ``how``."""
    spec = case.spec["input"]
    label = fill.label_map((2, 32, 48), 19, seed=spec["label_seed"])
    coarse = label[:, ::4, ::4].copy()
    coarse[coarse == 255] = 0
    one_hot = np.eye(19)[coarse].transpose(0, 3, 1, 2)
    logits = [
        np.random.RandomState(seed).standard_normal((2, 19, 8, 12)) * 1.5 + 7 * one_hot
        for seed in spec["logit_seeds"]
    ]
    return [torch.tensor(x, dtype=torch.float32, requires_grad=True) for x in logits], (
        torch.from_numpy(label)
    )
