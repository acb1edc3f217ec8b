"""Our modules for the HRNet cases."""

from __future__ import annotations

import re

from mmseg.models.backbones.resnet import BasicBlock
from mmseg.registry import MODELS

from mmseg_papers.models.backbones.hrnet import ARCHS, MultiResolutionModule, arch_to_extra

from . import Build, Case


def build(case: Case) -> Build:
    """The module of a case and how to call it."""
    if case.name.startswith("hr_module"):
        return _module(case)
    return _segmentor(case)


def _module(case: Case) -> Build:
    widths = [8, 16, 32, 64]
    module = MultiResolutionModule(
        4,
        BasicBlock,
        [1] * 4,
        list(widths),
        widths,
        upsample_mode="nearest" if "nearest" in case.name else "bilinear",
        align_corners="ac_true" in case.name,
    )
    return module, lambda net, xs: {f"y{i}": y for i, y in enumerate(net(xs))}


def _segmentor(case: Case) -> Build:
    backbone = dict(type="HighResolutionNet", align_corners="ac_true" in case.name)
    if case.name == "variant_resolution_maintenance":
        # All four streams from the beginning: every stage has four branches.
        extra = arch_to_extra("w18_small_v1")
        for stage in ("stage2", "stage3"):
            extra[stage] = dict(extra["stage4"], num_modules=extra[stage]["num_modules"])
        backbone.update(extra=extra)
        width = 16
    else:
        named = re.search(r"w\d+(_small_v\d)?", case.name)
        arch = named[0] if named else "w18_small_v2"
        backbone.update(arch=arch)
        width = ARCHS[arch][0]
    if scope := re.search(r"fusion_(\w+)", case.name):
        backbone.update(fusion_scope=scope[1])
    head = dict(
        type="HRNetV2Head",
        in_channels=[width * 2**r for r in range(4)],
        num_classes=59 if "cls59" in case.name else 19,
        norm_cfg=dict(type="BN"),
        align_corners="ac_true" in case.name,
    )
    model = MODELS.build(dict(type="EncoderDecoder", backbone=backbone, decode_head=head))
    return model, lambda net, xs: {"logits": net(xs[0])}
