"""Our modules for the DeepLab cases."""

from __future__ import annotations

import ast
import re
from functools import partial

import numpy as np
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_papers.models.backbones import AlignedXception, AtrousResNet
from mmseg_papers.models.layers import ASPP, DeepLabV3PlusDecoder
from mmseg_papers.models.losses import HardPixelMiningLoss
from mmseg_papers.ops import upsample_add, upsample_cross_entropy

from ..data.reference import fill
from . import Build, Case

NORM = dict(type="BN")


def option(case: Case, name: str, default=None):
    """The value of a keyword in the case's call."""
    match = re.search(rf"\b{name}=(?:\w+=)*([\[(][^\])]*[\])]|'[^']*'|\w+)", case.spec["call"])
    return ast.literal_eval(match[1]) if match else default


def prepare(case: Case, filled: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """TensorFlow's names and layout, where the case's source is TensorFlow."""
    if not case.spec["source"].startswith("tensorflow/"):
        return filled
    norm = dict(
        weight="gamma", bias="beta", running_mean="moving_mean", running_var="moving_variance"
    )
    weights = {}
    for key, value in filled.items():
        *parents, name = key.split(".")
        if parents[-1] == "BatchNorm":
            name = norm[name]
        elif name == "bias":
            name = "biases"
        elif parents[-1].endswith("_depthwise"):
            name, value = "depthwise_weights", value.transpose(2, 3, 0, 1)
        else:
            name, value = "weights", value.transpose(2, 3, 1, 0)
        weights["/".join([*parents, name])] = value
    return weights


def build(case: Case) -> Build:
    """The module of a case and how to call it."""
    for end, builder in (
        ("feature_extractor.py:extract_features", _backbone_alone),
        ("(ASPP part)", _pyramid),
        ("refine_by_decoder", _decoder),
        ("multi_scale_logits", _tensorflow_model),
        ("get_branch_logits", _cascade),
        ("network/modeling.py", _vainf_model),
        ("modeling/deeplab.py:DeepLab", _jfzhang95_model),
        ("add_softmax_cross_entropy_loss", _loss),
    ):
        if end in case.spec["source"]:
            return builder(case)
    raise ValueError(f"{case.name} has an unknown source")


def _backbone(variant: str, output_stride: int, multi_grid: list[int] | None) -> dict:
    """Config of one of the authors' backbones."""
    name, depth, beta = re.fullmatch(r"(xception|resnet_v1)_(\d+)(_beta)?", variant).groups()
    options = dict(depth=int(depth), output_stride=output_stride, multi_grid=multi_grid)
    if name == "xception":
        return dict(type="AlignedXception", **options)
    stem = dict(deep_stem=True, stem_channels=128) if beta else {}
    return dict(type="AtrousResNet", style="tensorflow", **stem, **options)


def _rates(case: Case) -> list[int]:
    """The call's rates at output stride 16."""
    return [rate * option(case, "output_stride", 16) // 16 for rate in option(case, "atrous_rates")]


def _model(case: Case, backbone: dict, head: dict) -> Build:
    model = MODELS.build(
        dict(
            type="AtrousEncoderDecoder",
            backbone=backbone,
            decode_head=dict(norm_cfg=NORM, in_index=-1, **head),
            output_stride=option(case, "output_stride"),
            test_cfg=dict(mode="whole"),
        )
    )

    def call(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        logits = net(xs[0])
        resized = upsample_add([logits], xs[0].shape[2:], align_corners=net.align_corners)
        outputs = dict(logits=logits, upsampled=resized)
        return {name: outputs[name] for name in case.spec["outputs"]}

    return model, call


def _backbone_alone(case: Case) -> Build:
    config = _backbone(
        option(case, "model_variant"), option(case, "output_stride"), option(case, "multi_grid")
    )
    backbone = (AlignedXception if config.pop("type") == "AlignedXception" else AtrousResNet)(
        **config
    )
    outputs = {}
    if "middle" in case.spec["outputs"]:
        backbone.blocks[-3].register_forward_hook(
            lambda _module, _args, output: outputs.update(middle=output)
        )

    def call(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        maps = net(xs[0])
        outputs.update(out=maps[-1], low_level=maps[0])
        return {name: outputs[name] for name in case.spec["outputs"]}

    return backbone, call


def _pyramid(case: Case) -> Build:
    pyramid = ASPP(
        case.spec["input"]["shape"][1],
        option(case, "aspp_convs_filters"),
        _rates(case),
        option(case, "output_stride", 16),
        separable=option(case, "aspp_with_separable_conv"),
        with_image_pool=option(case, "add_image_level_feature", True),
    )
    return pyramid, lambda net, xs: dict(out=net(xs[0]))


def _decoder(case: Case) -> Build:
    width = option(case, "decoder_filters")
    inputs = [case.spec["input"][name] for name in ("features", "low_level")]
    features, low_level = (spec["shape"] for spec in inputs)
    decoder = DeepLabV3PlusDecoder(
        features[1],
        low_level[1],
        channels=(width, width),
        separable=option(case, "decoder_use_separable_conv"),
    )
    return decoder, lambda net, xs: dict(out=net(*xs))


def _tensorflow_model(case: Case) -> Build:
    head = dict(
        type="DeepLabV3Head",
        rates=_rates(case),
        separable=option(case, "aspp_with_separable_conv", False),
        with_image_pool=option(case, "add_image_level_feature", True),
        num_classes=option(case, "num_classes"),
    )
    if option(case, "decoder_output_stride") is not None:
        separable = option(case, "decoder_use_separable_conv")
        head.update(type="DeepLabV3PlusHead", decoder_separable=separable)
    variant, multi_grid = option(case, "model_variant"), option(case, "multi_grid")
    return _model(case, _backbone(variant, 16, multi_grid), head)


def _cascade(case: Case) -> Build:
    call = case.spec["call"]
    variant = next(iter(case.spec["keys"])).split(".")[0]
    if f"{variant}.conv1_1.weight" in case.spec["keys"]:  # the scope of both is the same
        variant += "_beta"
    classes = case.spec["keys"]["logits.semantic.weight"][0]
    unit_rates = re.search(r"unit rates \(([\d, ]+)\)", call)
    multi_grid = [int(rate) for rate in unit_rates[1].split(",")]
    blocks = max(int(block) for block in re.findall(r"block(\d)", " ".join(case.spec["keys"])))
    model, _ = _model(
        case,
        dict(_backbone(variant, 16, multi_grid), num_blocks=blocks),
        dict(
            type="FCNHead",
            in_channels=2048,
            channels=2048,
            num_convs=0,
            kernel_size=1,
            concat_input=False,
            num_classes=classes,
            align_corners=True,
        ),
    )

    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        maps = net.extract_feat(xs[0])
        outputs = {f"block{i}": y for i, y in enumerate(maps, start=1)}
        outputs.update(logits=net.decode_head(maps))
        return {name: outputs[name] for name in case.spec["outputs"]}

    return model, run


def _vainf_model(case: Case) -> Build:
    name, depth = re.match(r"(deeplabv3|deeplabv3plus)_resnet(\d+)\(", case.spec["call"]).groups()
    head = dict(num_classes=option(case, "num_classes"), separable=False, align_corners=False)
    head.update(num_convs=1, type="DeepLabV3Head" if name == "deeplabv3" else "DeepLabV3PlusHead")
    return _model(case, dict(type="AtrousResNet", depth=int(depth), contract_dilation=True), head)


def _jfzhang95_model(case: Case) -> Build:
    head = dict(
        type="DeepLabV3PlusHead",
        num_classes=option(case, "num_classes"),
        separable=False,
        dropout_ratio=0.5,
        decoder_dropout_ratios=(0.5, 0.1),
    )
    return _model(case, dict(type="AtrousResNet", depth=101, multi_grid=(1, 2, 4)), head)


def _loss(case: Case) -> Build:
    share = float(re.search(r"and ([\d.]+) \(loss_top", case.spec["call"])[1])
    hard = HardPixelMiningLoss(share)
    of_logits, of_labels = case.spec["input"]["logits"], case.spec["input"]["labels"]
    low = torch.from_numpy(2 * fill.input_image(of_logits["shape"], of_logits["seed"]))
    label = torch.from_numpy(
        fill.label_map(of_labels["shape"], of_labels["num_classes"], of_labels["seed"])
    )

    def mean(logits: Tensor, align_corners: bool, avg_non_ignore: bool = True) -> Tensor:
        return upsample_cross_entropy(
            logits, label, avg_non_ignore=avg_non_ignore, align_corners=align_corners
        )[0]

    def hardest(logits: Tensor) -> Tensor:
        loss, _ = upsample_cross_entropy(logits, label, reduction="none", align_corners=True)
        return hard.of_pixel_losses(loss, label, 255)

    def call(_net: nn.Module, _xs: list[Tensor]) -> dict[str, Tensor]:
        outputs = {}
        for name, function in (
            ("", partial(mean, align_corners=True)),
            (f"_top{share * 100:g}", hardest),
            ("_noac", partial(mean, align_corners=False)),
            ("_noac_all_pixels", partial(mean, align_corners=False, avg_non_ignore=False)),
        ):
            logits = low.clone().requires_grad_()
            with torch.enable_grad():
                loss = function(logits)
            outputs[f"loss{name}"] = loss[None]
            (outputs[f"grad{name}"],) = torch.autograd.grad(loss, logits)
        return {name: outputs[name] for name in case.spec["outputs"]}

    return nn.Identity(), call
