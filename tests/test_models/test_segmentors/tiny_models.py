"""Models of mmseg's components that run in milliseconds, and batches for them."""

import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import mmseg_papers.models.segmentors  # noqa: F401

NUM_CLASSES = 19
FUSED = {
    "EncoderDecoder": "FusedEncoderDecoder",
    "CascadeEncoderDecoder": "FusedCascadeEncoderDecoder",
}


class TinyBackbone(nn.Module):
    """Maps of stride 4 and 8 with 8 and 12 channels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.stage = nn.Sequential(
            nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU()
        )

    def forward(self, x):
        x = self.stem(x)
        return x, self.stage(x)


def head(kind="FCNHead", **options):
    defaults = dict(
        type=kind,
        in_channels=12,
        in_index=1,
        channels=8,
        num_classes=NUM_CLASSES,
        norm_cfg=dict(type="BN"),
        loss_decode=dict(type="CrossEntropyLoss"),
    )
    return {**defaults, **options}


def one_channel(threshold):
    """A head of one class and its background with a single output channel."""
    loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
    return head(num_classes=2, out_channels=1, threshold=threshold, loss_decode=loss)


def auxiliary(**options):
    loss = dict(type="CrossEntropyLoss", loss_weight=0.4)
    return head(**{**dict(in_channels=8, in_index=0, num_convs=1, loss_decode=loss), **options})


SEP_ASPP = dict(
    kind="DepthwiseSeparableASPPHead", dilations=(1, 2), c1_in_channels=8, c1_channels=4
)
OCR = [
    head(loss_decode=dict(type="CrossEntropyLoss", loss_weight=0.4)),
    head("OCRHead", ocr_channels=4),
]


def model_config(decode_head, auxiliary_head=None, test_cfg=None, **options):
    """Of mmseg's segmentor; a list of decode heads is a cascade."""
    if isinstance(decode_head, list):
        options |= dict(type="CascadeEncoderDecoder", num_stages=len(decode_head))
    return ConfigDict(
        {
            "type": "EncoderDecoder",
            "backbone": dict(type=TinyBackbone),
            "decode_head": decode_head,
            "auxiliary_head": auxiliary_head,
            "test_cfg": test_cfg or dict(mode="whole"),
            "data_preprocessor": dict(type="SegDataPreProcessor", mean=[128.0] * 3, std=[64.0] * 3),
            **options,
        }
    )


def build_pair(config, test_cfg=None, dtype=torch.float32):
    """mmseg's model and ours, with one set of weights, which predict many classes."""
    theirs = MODELS.build(config)
    ours = ConfigDict(config, type=FUSED[config.type])
    ours.test_cfg = {**config.test_cfg, **(test_cfg or {})}
    ours = MODELS.build(ours)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in theirs.named_parameters():
        if name.endswith("conv_seg.weight"):
            parameter.data.normal_(generator=generator)
            # Features after ReLU are positive: without this, one class would win everywhere.
            parameter.data -= parameter.data.mean(dim=1, keepdim=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs.to(dtype), ours.to(dtype)


def images(count=2, size=(33, 46), dtype=torch.float32):
    return torch.randn(count, 3, *size, dtype=dtype)


def labelled(count=2, size=(33, 46), num_classes=NUM_CLASSES, ignored=0.2):
    samples = []
    for _ in range(count):
        label = torch.randint(num_classes, (1, *size))
        label[torch.rand(1, *size) < ignored] = 255
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size))
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    return samples


def with_meta(*metas):
    return [SegDataSample(metainfo=meta) for meta in metas]


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that an operation returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(x, torch.Tensor):
                self.elements = max(self.elements, x.numel())
        return result
