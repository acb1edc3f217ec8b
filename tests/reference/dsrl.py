"""Our modules for the DSRL cases, built from the constructor calls that the cases record."""

from __future__ import annotations

import ast
import re

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_papers.models.backbones.espnetv2 import CHANNELS, EESP, EESPDownsampler
from mmseg_papers.models.decode_heads.espnetv2_head import (
    EfficientPointwiseConv,
    EfficientPyramidPool,
)
from mmseg_papers.models.decode_heads.sisr_head import DeepLabV3PlusSISRHead, SISRHead
from mmseg_papers.models.layers import DeconvSSSR
from mmseg_papers.models.losses import FeatureAffinityLoss
from mmseg_papers.models.segmentors import DSRLEncoderDecoder

from ..data.reference import fill
from . import Build, Case

#: Channels of the low-level map that Dootmaan's backbones have.
LOW_LEVEL = {"resnet": 256, "drn": 256, "xception": 128, "mobilenet": 24}


def build(case: Case) -> Build:
    """The module of a case and how to call it."""
    call = case.spec["call"]
    for start, make in (
        (r"args\.s=", _espnetv2),
        (r"DeepLab\(", _deeplabv3plus),
        (r"EESP\(", _eesp),
        (r"DownSampler\(", _downsampler),
        (r"EfficientPyrPool\(", _pyramid_pool),
        (r"EfficientPWConv\(", _pointwise_conv),
        (r"two Deconv_BN_ACT\(", _deconv_sssr),
        (r"build_sr_decoder\(", _sr_decoder),
        (r"the members up_sr_1", _deconv_sisr),
        (r"DeepLab\.sr_conv", _subpixel_sisr),
        (r"ESPCN\(", _espcn),
        (r"nn\.Sequential\(Conv2d", _feature_transform),
        (r"FALoss\(|q=", _feature_affinity),
    ):
        if re.match(start, call):
            return make(case)
    raise ValueError(f"no module for {call!r}")


def allowed_error(case: Case, output: str, expected: np.ndarray) -> np.ndarray:
    """As the notes advise: ``rtol``, and ``atol`` of the largest value; in float64 for FA."""
    notes = re.split(r"[,;] (?:or )?in fp32", case.spec["notes"])[0]
    rtol = float(re.search(r"rtol (\de-\d+)", notes)[1])
    atol = re.search(r"atol (\de-\d+)\*max", notes)
    return rtol * np.abs(expected) + (float(atol[1]) * np.abs(expected).max() if atol else 0)


def arguments(case: Case) -> tuple[list, dict]:
    """Positional and keyword arguments of the first call in the case's ``call``."""
    text = re.search(r"\w+\([^()]*\)", case.spec["call"])[0]
    node = ast.parse(text, mode="eval").body
    values = [ast.literal_eval(a) for a in node.args if isinstance(a, ast.Constant)]
    return values, {k.arg: ast.literal_eval(k.value) for k in node.keywords}


def _espnetv2(case: Case) -> Build:
    call = case.spec["call"]
    scale = float(re.search(r"args\.s=([\d.]+\d)", call)[1])
    channels = int(re.search(r"args\.channels=(\d+)", call)[1])
    classes = int(re.search(r"classes=(\d+)", call)[1])
    model = MODELS.build(
        dict(
            type="DSRLEncoderDecoder",
            backbone=dict(type="ESPNetv2", scale=scale, in_channels=channels),
            decode_head=dict(type="ESPNetv2Head", in_channels=CHANNELS[scale], num_classes=classes),
            sssr=dict(type="DeconvSSSR", channels=classes),
            halve_test_images=False,
            test_cfg=dict(mode="whole"),
        )
    )

    def run(net, inputs):
        maps = net.backbone(inputs[0])
        outputs = {f"enc_l{i + 1}": y for i, y in enumerate(maps)}
        outputs |= dict(out=net(inputs[0]), bu_out=net.decode_head(maps))
        return {name: outputs[name] for name in case.spec["outputs"]}

    return model, run


def _deeplabv3plus(case: Case) -> Build:
    _, options = arguments(case)
    assert options["backbone"] == "resnet"
    classes, stride = options["num_classes"], options["output_stride"]
    is_subpixel = "sr_conv.0.weight" in case.spec["keys"]
    model = MODELS.build(
        dict(
            type="DSRLEncoderDecoder",
            backbone=dict(
                type="AtrousResNet", depth=101, output_stride=stride, multi_grid=(1, 2, 4)
            ),
            neck=dict(type="ASPPNeck", in_channels=2048, output_stride=stride, dropout_ratio=0.5),
            decode_head=dict(
                type="DeepLabV3PlusDecoderHead",
                num_classes=classes,
                norm_cfg=dict(type="BN"),
                loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
            ),
            sssr=dict(type="BilinearSSSR"),
            sisr_head=dict(
                type="DeepLabV3PlusSISRHead",
                upsampler="espcn" if is_subpixel else "deconv",
                scale_factor=2 if is_subpixel else 8,
                loss_weight=1,
            ),
            feature_transform=dict(in_channels=classes, out_channels=3),
            loss_fa=dict(type="FeatureAffinityLoss", normalize=False, reduction="sum"),
            fa_source="output",
            test_cfg=dict(mode="whole"),
        )
    )
    label = dict(case.spec["input"]["label"])
    assert label.pop("fn") == "label_map"
    label = torch.from_numpy(fill.label_map(**label))

    def run(net: DSRLEncoderDecoder, inputs):
        image = inputs[0]
        samples = [SegDataSample(gt_sem_seg=PixelData(data=y[None])) for y in label]
        losses = net.loss(image, samples)
        # Their code divides by the batch size a second time.
        ce = losses["decode.loss_ce"] / len(image)
        mse, fa = losses["sisr.loss_mse"], losses["loss_fa"]
        return dict(
            seg=net(image),
            sr=net.super_resolve_image(image),
            loss_ce=ce,
            loss_mse=mse,
            loss_fa=fa,
            loss=ce + 0.5 * mse + 0.5 * fa,
        )

    return model, run


def _eesp(case: Case) -> Build:
    args, options = arguments(case)
    assert options["k"] == 4
    module = EESP(*args, options["stride"], options["r_lim"])
    return module, lambda net, inputs: dict(out=net(inputs[0]))


def _downsampler(case: Case) -> Build:
    args, options = arguments(case)
    assert options["k"] == 4 and options["reinf"]
    module = EESPDownsampler(*args, options["r_lim"])
    return module, lambda net, inputs: dict(out=net(*inputs))


def _pyramid_pool(case: Case) -> Build:
    (in_channels, channels, out_channels), options = arguments(case)
    if options.get("last_layer_br", True):
        module = EfficientPyramidPool(in_channels, channels, out_channels)
        return module, lambda net, inputs: dict(out=net(inputs[0]))
    module = EfficientPyramidPool(in_channels, channels)
    module.conv_seg = nn.Conv2d(channels, out_channels, 1)  # which our decode head has
    return module, lambda net, inputs: dict(out=net.conv_seg(net(inputs[0])))


def _pointwise_conv(case: Case) -> Build:
    args, _ = arguments(case)
    return EfficientPointwiseConv(*args), lambda net, inputs: dict(out=net(inputs[0]))


def _deconv_sssr(case: Case) -> Build:
    args, _ = arguments(case)
    return DeconvSSSR(args[0]), lambda net, inputs: dict(out=net(inputs[0], None))


def _sr_decoder(case: Case) -> Build:
    (_, backbone), _ = arguments(case)
    head = DeepLabV3PlusSISRHead(c1_in_channels=LOW_LEVEL[backbone])
    head.body = head.tail = None
    return head, lambda net, inputs: dict(out=net.select(inputs[::-1]))


def _sisr(head: SISRHead) -> Build:
    def run(net, inputs):
        size = [net.scale_factor * n for n in inputs[0].shape[2:]]
        return dict(out=net(inputs, size)[0])

    return head, run


def _deconv_sisr(case: Case) -> Build:
    return _sisr(SISRHead(64, upsampler="deconv"))


def _subpixel_sisr(case: Case) -> Build:
    return _sisr(SISRHead(64, scale_factor=2))


def _espcn(case: Case) -> Build:
    _, options = arguments(case)
    return _sisr(
        SISRHead(
            options["num_channels"],
            scale_factor=options["scale_factor"],
            image_channels=options["out_ch"],
        )
    )


def _feature_transform(case: Case) -> Build:
    in_channels, out_channels = map(
        int, re.search(r"Conv2d\((\d+),\s*(\d+)", case.spec["call"]).groups()
    )
    model = MODELS.build(
        dict(
            type="DSRLEncoderDecoder",
            backbone=dict(type="ESPNetv2", scale=0.5),
            decode_head=dict(type="ESPNetv2Head", in_channels=CHANNELS[0.5], num_classes=4),
            sisr_head=dict(type="SISRHead", in_channels=16, in_index=0),
            feature_transform=dict(in_channels=in_channels, out_channels=out_channels),
            loss_fa=dict(type="FeatureAffinityLoss"),
            test_cfg=dict(mode="whole"),
        )
    )
    return model.feature_transform, lambda net, inputs: dict(out=net(inputs[0]))


def _feature_affinity(case: Case) -> Build:
    call, spec = case.spec["call"], case.spec["input"]
    if call.startswith("FALoss"):
        subscale = re.search(r"subscale=([\d.]+)", call)
        loss = FeatureAffinityLoss(
            normalize="normalisation lines" in call,
            grid_stride=int(1 / float(subscale[1])) if subscale else 16,
            reduction="sum",
        )
    else:
        loss = FeatureAffinityLoss(
            p=int(re.search(r"q=(\d)", call)[1]),
            normalize="normalize=True" in call,
            grid_stride=1,
        )

    def run(net, _):
        rng = np.random.RandomState(spec["seed"])
        features = [
            torch.from_numpy(rng.standard_normal(spec[shape]).astype(np.float32)).double()
            for shape in ("shape1", "shape2")
        ]
        features = [feature.requires_grad_() for feature in features]
        with torch.enable_grad():
            value = net(*features)
            grad1, grad2 = torch.autograd.grad(value, features)
        return dict(loss=value, grad1=grad1, grad2=grad2)

    return loss, run
