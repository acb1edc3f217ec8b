"""Our modules for the DenseASPP cases."""

from __future__ import annotations

import ast
import re
from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_papers.checkpoints import convert_state_dict
from mmseg_papers.checkpoints.denseaspp import MOBILENET_STAGES
from mmseg_papers.models.backbones import DilatedDenseNet
from mmseg_papers.models.layers import DenseBlock, DenseLayer, DenseTransition

from ..data.reference import fill
from . import Build, Case


def build(case: Case) -> Build:
    """The module of a case, from the class and the arguments that its json names."""
    source, call = case.spec["source"], arguments(case.spec["call"])
    if ":_DenseBlock" in source:
        return dense_block(call), lambda net, xs: {"out": net(xs[0])}
    if ":_DenseAsppBlock" in source:
        return pyramid_layer(call, case.spec["outputs"])
    if ":_Transition" in source:
        channels = call["num_input_features"], call["num_output_features"]
        module = DenseTransition(*channels, pool=call["stride"] == 2)
        return module, lambda net, xs: {"out": net(xs[0])}
    outputs = case.spec["outputs"]
    is_mobilenet = "MobileNetDenseASPP.py" in source
    if ".features" in source:
        net = nn.ModuleDict(dict(backbone=MODELS.build(backbone(call, is_mobilenet))))
        return net, lambda net, xs: backbone_outputs(net["backbone"], xs[0], outputs)
    model = segmentor(call, is_mobilenet)
    if "loss" in outputs:
        return model, lambda net, xs: train_outputs(case, net, xs[0])
    return model, lambda net, xs: segmentor_outputs(net, xs[0], outputs)


def arguments(text: str) -> dict:
    """The keyword arguments of a ``call``, which reads like Python but for remarks in between."""
    text = re.sub(r"\([^()]*\.py\)", "", text.split(";")[0])
    call = ast.parse(f"f({text})", mode="eval").body
    return {k.arg: ast.literal_eval(k.value) for k in call.keywords}


def dense_block(call: dict) -> DenseBlock:
    channels, growth = call["num_input_features"], call["growth_rate"]
    layers = (
        DenseLayer(
            channels + i * growth,
            call["bn_size"] * growth,
            growth,
            dilation=call["dilation_rate"],
            dropout_ratio=call["drop_rate"],
        )
        for i in range(call["num_layers"])
    )
    return DenseBlock(OrderedDict((f"denselayer{i}", x) for i, x in enumerate(layers, start=1)))


def pyramid_layer(call: dict, outputs: dict) -> Build:
    layer = DenseLayer(
        call["input_num"],
        call["num1"],
        call["num2"],
        dilation=call["dilation_rate"],
        bias=True,
        pre_norm=call["bn_start"],
        dropout_ratio=call["drop_out"],
    )

    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        # The head applies the ReLU that the authors' first layer applies in place.
        x = xs[0] if call["bn_start"] else F.relu(xs[0])
        y = net(x)
        return {"out": y, **({"input_after": x} if "input_after" in outputs else {})}

    return layer, run


def backbone(call: dict, is_mobilenet: bool) -> dict:
    if is_mobilenet:
        return dict(type="DilatedMobileNetV2", output_stride=call["output_stride"])
    config = call["model_cfg"]
    return dict(
        type="DilatedDenseNet",
        arch=dict(
            growth_rate=config["growth_rate"],
            stem_channels=config["num_init_features"],
            num_layers=config["block_config"],
            bn_size=config["bn_size"],
        ),
        output_stride=call["output_stride"],
    )


def segmentor(call: dict, is_mobilenet: bool) -> nn.Module:
    config, net = call["model_cfg"], backbone(call, is_mobilenet)
    channels = 320 if is_mobilenet else MODELS.build(net).out_channels
    head = dict(
        type="DenseASPPHead",
        in_channels=channels,
        bottleneck_channels=config["d_feature0"],
        growth_channels=config["d_feature1"],
        pyramid_dropout_ratio=config["dropout0"],
        dropout_ratio=config["dropout1"],
        num_classes=call["n_class"],
        norm_cfg=dict(type="BN", momentum=0.0003),
    )
    return MODELS.build(
        dict(
            type="FusedEncoderDecoder", backbone=net, decode_head=head, test_cfg=dict(mode="whole")
        )
    )


class Recorder:
    """Outputs of named modules in the next forward pass."""

    def __init__(self, net: nn.Module, names: dict[str, str]) -> None:
        self.values: dict[str, Tensor] = {}
        for name, path in names.items():
            net.get_submodule(path).register_forward_hook(
                lambda _m, _x, y, name=name: self.values.__setitem__(name, y.clone())
            )


def backbone_outputs(net: DilatedDenseNet, x: Tensor, wanted: dict) -> dict[str, Tensor]:
    recorder = Recorder(net, {name: module_of(name) for name in wanted})
    net(x)
    return recorder.values


def module_of(output: str) -> str:
    """Our module, in the backbone, of what a case calls its output."""
    if output == "stem":
        return "pool0"
    if output == "feature0":
        return "conv1"
    if feature := re.fullmatch(r"feature(\d+)", output):
        index = int(feature[1])
        stage = sum(first <= index for first in MOBILENET_STAGES)
        return f"layer{stage}.{index - MOBILENET_STAGES[stage - 1]}"
    return output


def segmentor_outputs(net: nn.Module, x: Tensor, wanted: dict) -> dict[str, Tensor]:
    names = {n: f"backbone.{module_of(n)}" for n in wanted if n.startswith("feature")}
    recorder = Recorder(net, {**names, "concat": "decode_head.aspp"})
    low = net(x)
    outputs = {
        **recorder.values,
        "logits_low": low,
        "logits": up8(low, align_corners=True),
        "logits_align_false": up8(low, align_corners=False),
    }
    return {name: outputs[name] for name in wanted}


def up8(logits: Tensor, align_corners: bool) -> Tensor:
    return F.interpolate(logits, scale_factor=8, mode="bilinear", align_corners=align_corners)


def train_outputs(case: Case, net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Loss, gradients and running statistics of one training step, under the authors' names."""
    shape, classes, seed = re.search(
        r"label_map\((\([^)]*\)), num_classes=(\d+), seed=(\d+)\)", case.spec["input"]["labels"]
    ).groups()
    labels = fill.label_map(ast.literal_eval(shape), int(classes), int(seed))
    net.train()
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        low = net(x)
        loss = F.cross_entropy(
            up8(low, align_corners=True), torch.from_numpy(labels), ignore_index=255
        )
        loss.backward()
    outputs = {"loss": loss, "logits_low": low, "grad_input": x.grad, **case.trained(net)}
    if "grad_norms" in case.spec["outputs"]:
        names = map(ours_of, case.spec["parameter_order"])
        outputs["grad_norms"] = torch.stack([net.get_parameter(n).grad.norm() for n in names])
    return {name: outputs[name] for name in case.spec["outputs"]}


def ours_of(name: str) -> str:
    """Our name of the authors' parameter."""
    return next(iter(convert_state_dict("denseaspp", {name: torch.zeros(1)})))


def allowed_error(case: Case, _output: str, expected: np.ndarray) -> np.ndarray:
    """As the notes advise."""
    advice = re.search(
        r"atol = ([\d.e-]+) \* max\|expected\|, rtol = ([\d.e-]+\d)", case.spec["notes"]
    )
    atol, rtol = map(float, advice.groups())
    return atol * np.abs(expected).max() + rtol * np.abs(expected)
