"""Our modules for the RefineNet cases."""

from __future__ import annotations

import re

import numpy as np
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_papers.models.decode_heads import RefineNetHead
from mmseg_papers.models.layers import (
    ChainedResidualPooling,
    FeaturePath,
    RefineBlock,
    ResidualConvUnit,
)
from mmseg_papers.ops import resize_bicubic, upsample_add

from . import Build, Case

DEPTHS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
#: Of the MATLAB decoders: names of the outputs.
FUSIONS = {
    "bilinear_align": dict(fusion_mode="bilinear", fusion_align_corners=True),
    "bilinear_half": dict(fusion_mode="bilinear", fusion_align_corners=False),
    "bicubic_matlab": dict(fusion_mode="bicubic"),
}
#: The authors' submodules whose outputs are recorded, and ours; k counts from the coarsest level.
SUBMODULES = [
    (r"adapt_stage(?P<k>\d)_b2_joint_varout_dimred", "decode_head.paths.{fine}"),
    (r"adapt_stage(?P<k>\d)_b", "decode_head.paths.{fine}.units"),
    (r"mflow_conv_g(?P<k>\d)_b3_joint_varout_dimred", "decode_head.blocks.{fine}"),
    (r"mflow_conv_g(?P<k>\d)_b", "decode_head.blocks.{fine}.units"),
    (r"mflow_conv_g(?P<k>\d)_pool", "decode_head.blocks.{fine}.pooling"),
    (r"crp(?P<k>\d)", "decode_head.blocks.{before}.pooling"),
    (r"layer(?P<k>\d)", "backbone.layer{k}"),
]


def build(case: Case) -> Build:
    """The module of a case and how to call it."""
    call = case.spec["call"]
    for beginning, make in (
        (r"resize to", _resize),
        (r"RCUBlock\(", _units),
        (r"CRPBlock\(", _pooling),
        (r"\d+-channel level-\d feature", _block),
        (r"(RefineNet|ResNetLW|MBv2)\(", _segmentor),
        (r"decoder with", _decoder),
        (r"input dims|two feature pyramids", _matlab_decoder),
    ):
        if re.match(beginning, call):
            return make(case)
    raise ValueError(f"{case.name}: unknown call {call!r}")


def allowed_error(case: Case, output: str, expected: np.ndarray) -> float:
    """The notes' tolerance, a share of the maximum."""
    share = re.search(r"max\|a-b\| / max\|b\| below (\S+)", case.spec["notes"])[1]
    return float(share) * np.abs(expected).max()


def _option(call: str, name: str) -> int:
    return int(re.search(rf"{name}=(\d+)", call)[1])


def _number_before(call: str, what: str) -> int:
    found = re.search(rf"(\d+)(?: |-stage ){what}", call)
    return int(found[1]) if found else 0


def _numbers_after(call: str, what: str) -> list[int]:
    found = re.search(rf"{what}[^\d]*(\d+(?:\D{{1,2}}\d+)*)", call)
    return [int(number) for number in re.findall(r"\d+", found[1])]


def _resize(case: Case) -> Build:
    size = _numbers_after(case.spec["call"], "resize to")
    return nn.Module(), lambda _, xs: {"out": resize_bicubic(xs[0], size)}


def _units(case: Case) -> Build:
    call = case.spec["call"]
    channels, count = _option(call, "in_planes"), _option(call, "n_blocks")
    units = nn.Sequential(*(ResidualConvUnit(channels) for _ in range(count)))
    return units, lambda net, xs: {"out": net(xs[0])}


def _pooling(case: Case) -> Build:
    call = case.spec["call"]
    kernel_size = next(iter(case.spec["keys"].values()))[-1]
    pooling = ChainedResidualPooling(
        _option(call, "in_planes"), _option(call, "n_stages"), kernel_size=kernel_size
    )

    def gradients(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        x, upstream = xs
        with torch.enable_grad():
            out = net(x.requires_grad_().relu())
            convs = [conv.weight for conv in net.pool_convs]
            grads = torch.autograd.grad(out, [x, *convs], upstream)
        names = ["grad_in", *(f"grad_w{i}" for i in range(1, len(grads)))]
        every = dict(zip(names, grads, strict=True), out=out.detach())
        return {name: every[name] for name in case.spec["outputs"]}

    if "applied to relu(x)" in call:
        return pooling, gradients
    return pooling, lambda net, xs: {"out": net(xs[0])}


def _block(case: Case) -> Build:
    call, keys = case.spec["call"], case.spec["keys"]
    widths = {
        what: next((shape for key, shape in keys.items() if re.search(pattern, key)), [None, None])
        for what, pattern in (
            ("reduction", r"p_ims.*_dimred"),
            ("fusion", r"adapt_.*_joint_varout"),
            ("link", r"mflow_.*_joint_varout"),
        )
    }
    channels, in_channels = widths["reduction"][:2]
    units = [int(number) for number in re.findall(r"(\d+) RCUs", call)]
    net = nn.ModuleDict(
        dict(
            paths=nn.ModuleList(
                [FeaturePath(in_channels, channels, widths["fusion"][0], num_units=units[0])]
            ),
            blocks=nn.ModuleList(
                [
                    RefineBlock(
                        widths["fusion"][0] or channels,
                        widths["link"][0],
                        num_units=units[1],
                        num_pool_stages=_number_before(call, "CRP"),
                    )
                ]
            ),
        )
    )

    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        block = net["blocks"][0]
        maps = [net["paths"][0](xs[0]), *xs[1:]]
        every = {
            "out": block(maps),
            "block": block.units(block.pooling(block.fuse(maps))),
            "fused": upsample_add(maps, align_corners=block.align_corners),
        }
        return {name: every[name] for name in case.spec["outputs"]}

    return net, run


def _segmentor(case: Case) -> Build:
    call = case.spec["call"]
    num_classes = _option(call, "num_classes")
    if call.startswith("MBv2"):
        backbone = dict(type="LightWeightMobileNetV2")
        head = dict(
            type="LightWeightRefineNetHead",
            in_channels=(24, 32, 64, 96, 160, 320),
            channels=(256,) * 6,
            cascade=(1, 2, 3, 3, 4, 4),
            path_fusion=False,
            relu6=True,
            dropout_ratio=0,
        )
    else:
        backbone = dict(
            type="ResNet",
            depth=DEPTHS[tuple(_numbers_after(call, "layers="))],
            style="pytorch",
            strides=(1, 2, 2, 2),
            dilations=(1, 1, 1, 1),
        )
        light = call.startswith("ResNetLW")
        head = dict(type="LightWeightRefineNetHead" if light else "RefineNetHead")
    head.update(num_classes=num_classes)
    model = MODELS.build(
        dict(
            type="FusedEncoderDecoder",
            backbone=backbone,
            decode_head=head,
            test_cfg=dict(mode="whole"),
        )
    )

    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}
        for name in set(case.spec["outputs"]) - {"logits"}:
            module = net.get_submodule(_submodule(name, mobile=call.startswith("MBv2")))
            module.register_forward_hook(
                lambda _, __, output, name=name: outputs.update({name: output})
            )
        return {"logits": net(xs[0]), **outputs}

    return model, run


def _submodule(name: str, mobile: bool) -> str:
    for pattern, ours in SUBMODULES:
        if m := re.fullmatch(pattern, name):
            k = int(m["k"])
            if mobile and name.startswith("layer"):
                k -= 1  # theirs counts the stem
            return ours.format(k=k, before=k - 1, fine=4 - k)
    raise ValueError(f"unknown submodule {name}")


def _decoder(case: Case) -> Build:
    call = case.spec["call"]
    in_channels = _numbers_after(call, "inputs")
    head = RefineNetHead(in_channels, num_classes=_option(call, "num_classes"))
    return head, lambda net, xs: {"logits": net(xs)}


def _matlab_decoder(case: Case) -> Build:
    call = case.spec["call"]
    in_channels = _numbers_after(call, r"input dims \(")[::-1]  # theirs begin at the coarsest
    channels = _numbers_after(call, r"dimension-reduction to \(")[::-1]
    levels = len(in_channels)
    groups = re.search(r"path_group_ids ([\d ]+)", call)
    groups = [int(g) for g in groups[1].split()][:levels] if groups else range(1, levels + 1)
    options = dict(
        num_classes=case.spec["keys"]["clf_conv.weight"][0],
        in_channels=in_channels,
        channels=channels,
        cascade=[max(groups) + 1 - g for g in groups][::-1],
        num_scales=2 if call.startswith("two feature pyramids") else 1,
        num_input_units=_number_before(call, "input RCU"),
        num_output_units=_number_before(call, "output RCU"),
        num_final_units=_number_before(call, "extra RCU"),
        num_pool_stages=_number_before(call, "(pool-then-conv|CONV-then-pool)"),
        pool_first="pool-then-conv" in call,
    )
    inputs = [re.fullmatch(r"p_ims(\w+)_outl(\d+)", name) for name in case.spec["input"]]
    order = sorted(range(len(inputs)), key=lambda i: (inputs[i][1], -int(inputs[i][2])))

    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        outputs = {}
        for name in case.spec["outputs"]:
            head = RefineNetHead(**options, **FUSIONS[name]).to(xs[0]).eval()
            head.load_state_dict(net.state_dict(), strict=True)
            outputs[name] = head([xs[i] for i in order])
        return outputs

    return RefineNetHead(**options), run
