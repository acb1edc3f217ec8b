"""Our modules for the HANet cases."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.models.backbones.resnet import Bottleneck, ResNet
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_papers.datasets.class_uniform import class_centroids, draw_epoch
from mmseg_papers.datasets.height_statistics import count_classes, entropy, probabilities
from mmseg_papers.models.layers import ASPP, HeightAttention
from mmseg_papers.models.layers.height_attention import (
    PADDING,
    jitter_index,
    position_index,
    row_positions,
    sinusoid_table,
)
from mmseg_papers.models.losses.image_weighted_cross_entropy_loss import image_class_weights

from ..data.reference import fill
from . import Build, Case

TABLE = {1: "sinusoid", 0: "learned"}
BN = dict(type="BN")


def _resnet(output_stride: int, keys: dict, depth: int) -> dict:
    config = dict(type="AtrousResNet", depth=depth, output_stride=output_stride)
    if "layer0.6.weight" in keys:  # three convs in the stem
        config.update(deep_stem=True, stem_channels=keys["layer0.6.weight"][0])
    return config


class WideBottleneck(Bottleneck):
    """Half the expansion, for twice the inner channels and the same output."""

    expansion = 2


class WideResNet(ResNet):
    """torchvision's ``wide_resnet50_2`` and ``wide_resnet101_2``, with ``base_channels=128``."""

    arch_settings = {50: (WideBottleneck, (3, 4, 6, 3)), 101: (WideBottleneck, (3, 4, 23, 3))}


def _strided(output_stride: int, keys: dict, **options) -> dict:
    strides, dilations = {
        32: ((1, 2, 2, 2), (1, 1, 1, 1)),
        16: ((1, 2, 2, 1), (1, 1, 1, 2)),
        8: ((1, 2, 1, 1), (1, 1, 2, 4)),
        4: ((1, 1, 1, 1), (1, 2, 4, 8)),
    }[output_stride]
    return dict(strides=strides, dilations=dilations, **options)


def _light(name: str, output_stride: int, keys: dict) -> dict:
    return dict(type=name, output_stride=output_stride)


WIDE = dict(type=WideResNet, base_channels=128, stem_channels=64)
#: Trunk of the authors' function names -> backbone, channels (low level, source, last) and places.
RESNET = ("backbone.layer3", "backbone.layer4"), (0, 2, 3), (256, 1024, 2048)
TRUNKS = {
    **{f"R{depth}": (partial(_resnet, depth=depth), *RESNET) for depth in (50, 101, 152)},
    "ResNext50": (partial(_strided, type="ResNeXt", depth=50, groups=32, base_width=4), *RESNET),
    "ResNext101": (partial(_strided, type="ResNeXt", depth=101, groups=32, base_width=8), *RESNET),
    **{
        f"WideResNet{depth}": (partial(_strided, **WIDE, depth=depth), *RESNET)
        for depth in (50, 101)
    },
    "MobileNet": (
        partial(_light, "FullMobileNetV2"),
        ("backbone.layer7", "backbone.conv2"),
        (0, 1, 2),
        (32, 320, 1280),
    ),
    "ShuffleNet": (
        partial(_light, "ShuffleNetV2"),
        ("backbone.layers.2", "backbone.layers.3"),
        (0, 1, 2),
        (116, 464, 1024),
    ),
}


def build(case: Case) -> Build:
    """The module of a case and how to call it."""
    kinds = {
        "layer": _layer,
        "aspp": _aspp,
        "deeplab": _segmentor,
        "sinusoid_tables": _sinusoid_tables,
        "position_index": _position_index,
        "position_jitter": _position_jitter,
        "train_losses": _train_losses,
        "image_weighted_ce": _image_weighted_ce,
        "class_uniform_centroids": _class_uniform_centroids,
        "height_statistics": _height_statistics,
    }
    return next(make for kind, make in kinds.items() if case.name.startswith(kind))(case)


def prepare(case: Case, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keep the constructor's values of what the case does not fill."""
    kept = {
        key: sinusoid_table(*case.spec["keys"][key]).numpy()
        for key in case.spec.get("not_filled", [])
    }
    return {**weights, **kept}


def allowed_error(case: Case, output: str, expected: np.ndarray) -> float:
    """What the notes say in words: exact, ``atol``, or ``rtol`` of the maximum."""
    notes = case.spec["notes"]
    if "compare exactly" in notes:
        return 0
    kind, value = re.findall(r"\b(rtol|atol) (\d\S*\d)", notes)[-1]
    return float(value) * (np.abs(expected).max() if kind == "rtol" else 1)


def _layer(case: Case) -> Build:
    call, inputs = case.spec["call"], case.spec["input"]
    layer = HeightAttention(
        call["in_channel"],
        call["out_channel"],
        reduction=call["r_factor"],
        num_convs=call["layer"],
        kernel_size=call["kernel_size"],
        coarse_height=128 // call["pos_rfactor"],
        pooling=call["pooling"],
        position=TABLE[call["is_encoding"]],
        position_at=call["pos_injection"],
        dropout_ratio=call["dropout_prob"],
        jitter=call["pos_noise"],
    )
    index = _index(inputs["position_index"])

    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        low, high = xs
        pooled = net.pool(low)
        return dict(
            out=net(low, high, index),
            attention=net.attention(pooled, high.shape[2], index),
            pooled=pooled,
        )

    return layer, run


def _index(rows: list | None) -> Tensor | None:
    return None if rows is None else torch.tensor(rows)


def _aspp(case: Case) -> Build:
    call = _parse(case.spec["call"])
    aspp = ASPP(
        int(call["in_dim"]),
        int(call["reduction_dim"]),
        output_stride=int(call["output_stride"]),
        pool_channels=256,
        bottleneck_kernel=None,
    )
    return aspp, lambda net, xs: dict(out=net(xs[0]))


def _parse(call: str) -> dict[str, str]:
    return dict(re.findall(r"(\w+)=([\w.-]+)", call))


def _segmentor(case: Case) -> Build:
    call = case.spec["call"]
    trunk, stride = re.fullmatch(r"Deep(\w+?)V3PlusD_HANet(?:_OS(\d+))?", call["function"]).groups()
    stride = int(stride or 16)
    make, (source, target), (low, aux, last), channels = TRUNKS[trunk]
    kernel_size, reduction, num_convs = call["hanet_set"]
    position_at, table = call["hanet_pos"]
    places = [
        (source, target, channels[1], channels[2], None),
        (target, "decode_head.bottleneck:in", channels[2], 1280, None),
        ("decode_head.bottleneck:in", "decode_head.bottleneck", 1280, 256, None),
        ("decode_head.fuse:in", "decode_head.fuse", 304, 256, None),
        ("decode_head.fuse", "decode_head.conv_seg", 256, call["num_classes"], "max"),
    ]
    attention = dict(
        places=[
            dict(
                source=s,
                target=t,
                low_channels=cl,
                high_channels=ch,
                pooling=pooling or call["pooling"],
            )
            for wanted, (s, t, cl, ch, pooling) in zip(call["hanet"], places, strict=True)
            if wanted
        ],
        kernel_size=kernel_size,
        reduction=reduction,
        num_convs=num_convs,
        position_at=position_at,
        position=TABLE[table],
        coarse_height=128 // call["pos_rfactor"],
        dropout_ratio=call["dropout"],
        jitter=call["pos_noise"],
    )
    config = dict(
        type="HeightAttentionEncoderDecoder",
        height_attention=attention,
        backbone=make(output_stride=stride, keys=case.spec["keys"]),
        decode_head=dict(
            type="PlainDeepLabV3PlusHead",
            in_channels=channels[2],
            in_index=last,
            c1_in_channels=channels[0],
            c1_index=low,
            output_stride=stride,
            num_classes=call["num_classes"],
            norm_cfg=BN,
        ),
        test_cfg=dict(mode="whole"),
    )
    if call["aux_loss"]:
        config["auxiliary_head"] = dict(
            type="LowResolutionFCNHead",
            in_channels=channels[1],
            in_index=aux,
            channels=512,
            num_convs=1,
            concat_input=False,
            num_classes=call["num_classes"],
            norm_cfg=BN,
        )
    model = MODELS.build(config)
    index = _index(case.spec["input"]["position_index"])

    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        height, width = xs[0].shape[2:]
        net._index = lambda layer: index
        found = {}

        def spy(number: int, layer: HeightAttention) -> Callable:
            attention = layer.attention

            def observed(*args):
                found[f"attention{number}"] = attention(*args)
                return found[f"attention{number}"]

            return observed

        wanted = [i for i, there in enumerate(call["hanet"]) if there]
        for number, layer in zip(wanted, net.height_attention, strict=True):
            layer.attention = spy(number, layer)
        features = net.extract_feat(xs[0])
        logits = net.decode_head.forward(features)
        found["logits"] = nn.functional.interpolate(
            logits, (height, width), mode="bilinear", align_corners=True
        )
        if call["aux_loss"]:
            found["aux_logits"] = net.auxiliary_head.forward(features)
        if "aspp_input" in case.spec["outputs"]:
            found["aspp_input"] = features[last]
        return found

    return model, run


def _sinusoid_tables(case: Case) -> Build:
    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        tables = {}
        for name in case.spec["outputs"]:
            rfactor, dim = map(int, re.fullmatch(r"rf(\d+)_dim(\d+)", name).groups())
            tables[name] = sinusoid_table(128 // rfactor + 1, dim)
        return tables

    return nn.Module(), run


def _coarse_height(case: Case) -> int:
    return 128 // int(_parse(case.spec["call"])["pos_rfactor"])


def _position_index(case: Case) -> Build:
    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        rows = []
        for crop in case.spec["input"]["cases"]:
            pad = (crop["pad_top"],) * 2
            image = row_positions(crop["scaled_height"])
            padded = nn.functional.pad(image, pad, value=PADDING)
            rows.append(padded[crop["crop_top"] :][: crop["crop"]])
        return dict(index=torch.cat([position_index(r[None], _coarse_height(case)) for r in rows]))

    return nn.Module(), run


def _position_jitter(case: Case) -> Build:
    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        base = torch.tensor(case.spec["input"]["base_index"])
        seed, shape = re.fullmatch(
            r"RandomState\((\d+)\)\.standard_normal\(\((.+)\)\)\.astype\(float32\)",
            case.spec["input"]["normal"],
        ).groups()
        shape = tuple(map(int, shape.split(",")))
        normal = np.random.RandomState(int(seed)).standard_normal(shape).astype(np.float32)
        normal = torch.from_numpy(normal).view(base.shape)
        outputs = {}
        for name in case.spec["outputs"]:
            rounding, sigma = re.fullmatch(r"index_(trunc|floor)_sigma([\d.]+)", name).groups()
            noise = normal * float(sigma)
            # What the unchanged code does since PyTorch 1.13.
            noise = noise.floor() if rounding == "floor" else noise
            outputs[name] = jitter_index(base, noise, _coarse_height(case))
        return outputs

    return nn.Module(), run


def _label(case: Case, **scope) -> np.ndarray:
    """The label map of a case's ``label_map(...)`` call."""
    call = re.match(r"label_map\(\(([\d, ]+)\), (\d+), (\d+)\)(\[0\])?", _label_call(case))
    shape = tuple(map(int, call[1].split(",")))
    label = fill.label_map(shape, int(call[2]), int(call[3]))
    return label[0] if call[4] else label


def _label_call(case: Case) -> str:
    return case.spec["input"]["label"]["call"]


def _logits(case: Case, name: str) -> Tensor:
    spec = case.spec["input"][name]
    x = fill.input_image(spec["shape"], spec["seed"]) * np.float32(spec.get("scale", 1))
    return torch.from_numpy(x).requires_grad_()


#: Those of ``--cls_wt_loss``.
CLASS_WEIGHT = [
    0.8373, 0.9180, 0.8660, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023,
    0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507,
]  # fmt: skip


def _train_losses(case: Case) -> Build:
    label = torch.from_numpy(_label(case))

    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        outputs = {}
        classes = case.spec["input"]["logits"]["shape"][1]
        for kind, class_weight in (("weighted", CLASS_WEIGHT), ("plain", None)):
            shared = dict(in_channels=8, channels=8, num_classes=classes, norm_cfg=BN)
            head = MODELS.build(
                dict(
                    type="FCNHead",
                    align_corners=True,
                    loss_decode=dict(type="WeightedCrossEntropyLoss", class_weight=class_weight),
                    **shared,
                )
            )
            auxiliary = MODELS.build(
                dict(
                    type="LowResolutionFCNHead",
                    align_corners=True,
                    loss_decode=dict(
                        type="WeightedCrossEntropyLoss", class_weight=class_weight, loss_weight=0.4
                    ),
                    **shared,
                )
            )
            logits, low = _logits(case, "logits"), _logits(case, "aux_logits")
            samples = [SegDataSample(gt_sem_seg=PixelData(data=x[None])) for x in label]
            with torch.enable_grad():
                main = head.loss_by_feat(logits, samples)["loss_ce"]
                aux = auxiliary.loss_by_feat(low, samples)["loss_ce"]
                total = main + aux
                grads = torch.autograd.grad(total, (logits, low))
            outputs |= {
                f"{kind}_main": main[None],
                f"{kind}_aux": aux[None] / 0.4,
                f"{kind}_total": total[None],
                f"{kind}_grad_logits": grads[0],
                f"{kind}_grad_aux": grads[1],
            }
        return outputs

    return nn.Module(), run


def _image_weighted_ce(case: Case) -> Build:
    label = _label(case)
    sample, old, new = map(
        int, re.search(r"in sample (\d+) every (\d+) becomes (\d+)", _label_call(case)).groups()
    )
    label[sample][label[sample] == old] = new
    label = torch.from_numpy(label)
    bound = float(re.search(r"upper_bound=([\d.]*\d)", case.spec["call"])[1])
    loss = MODELS.build(dict(type="ImageWeightedCrossEntropyLoss", upper_bound=bound))

    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        logits = _logits(case, "logits")
        with torch.enable_grad():
            value = loss(logits, label, ignore_index=255)
            (grad,) = torch.autograd.grad(value, logits)
        weights = image_class_weights(label, logits.shape[1], 255, bound)
        return dict(value=value[None], weights=weights, grad=grad)

    return nn.Module(), run


def _class_uniform_centroids(case: Case) -> Build:
    call = case.spec["call"]
    label = _label(case)
    stop, old, new = map(
        int, re.search(r"columns 0..(\d+) every (\d+) becomes (\d+)", _label_call(case)).groups()
    )
    part = label[:, : stop + 1]
    part[part == old] = new
    options = _parse(call)
    classes, images = int(options["num_classes"]), int(re.search(r"(\d+) images", call)[1])
    empty, single = map(
        int, re.search(r"class (\d+) has no centroid, class (\d+) one", call).groups()
    )

    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        centroids = class_centroids(label, classes, int(options["tile_size"]))
        number = {c: {empty: 0, single: 1}.get(c, 5) for c in range(classes)}
        of_class = np.repeat(list(number), list(number.values()))
        epoch = draw_epoch(
            images, of_class, classes, float(options["class_uniform_pct"]), np.random.default_rng(0)
        )
        drawn = of_class[epoch[epoch >= images] - images]
        counts = [int((epoch < images).sum()), *np.bincount(drawn, minlength=classes)]
        return dict(centroids=torch.tensor(centroids), epoch_counts=torch.tensor(counts))

    return nn.Module(), run


def _height_statistics(case: Case) -> Build:
    classes = int(re.match(r"(\d+) classes", case.spec["call"])[1])
    label = _label(case)
    label[:, :32][label[:, :32] > 4] = 8
    label[:, 64:][label[:, 64:] < 5] = 0

    def run(net: nn.Module, xs: list[Tensor]) -> dict[str, Tensor]:
        counts = sum(count_classes(image, classes, 3) for image in label)
        rows = np.concatenate([counts.sum(0, keepdims=True), counts])
        return dict(
            probability=torch.from_numpy(probabilities(rows)),
            entropy=torch.from_numpy(entropy(rows)),
        )

    return nn.Module(), run
