"""One small model of every family of configs, with weights that no layer is blind to."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_papers.apis.configs import packaged_configs
from mmseg_papers.models.layers.height_attention import row_positions

from .generated_data import CROP
from .test_configs import without_pretrained
from .test_models.test_segmentors.tiny_models import images, labelled

RESNET18 = {"model.backbone.depth": 18}
#: A ResNet of basic blocks under heads that read its last map, or that of stride 4, too.
LAST_MAP = {**RESNET18, "model.decode_head.in_channels": 512}
DEEPLAB = {**LAST_MAP, "model.backbone.multi_grid": (1, 2)}
AUXILIARY = {"model.auxiliary_head.in_channels": 256}
LOW_LEVEL = {"model.decode_head.c1_in_channels": 64}
LEVELS = {**RESNET18, "model.decode_head.in_channels": (64, 128, 256, 512)}
HRNET_W16 = {
    "model.backbone.arch": "w18_small_v1",
    "model.decode_head.0.in_channels": (16, 32, 64, 128),
    "model.decode_head.1.in_channels": (16, 32, 64, 128),
}
DSRL_RESNET18 = {
    **RESNET18,
    **LOW_LEVEL,
    "model.backbone.multi_grid": (1, 2),
    "model.neck.in_channels": 512,
    "model.sisr_head.c1_in_channels": 64,
}
DSRL_PSPNET = {**LAST_MAP, **AUXILIARY, "model.sisr_head.in_channels": (64, 512)}

#: Family -> a config's name and what makes it small.
FAMILIES: dict[str, tuple[str, dict]] = {
    "hrnetv1": ("hrnetv1_w18-small-v2_1xb8-20k_camvid-360x480", {}),
    "hrnetv2": ("hrnetv2_w18-small-v1_4xb3-120k_cityscapes-512x1024", {}),
    "hrnetv2p": ("hrnetv2p-fpnhead_w18-small-v2_1xb8-20k_camvid-360x480", {}),
    "ocrnet": ("ocrnet_hrnetv2-w18-small-v1_4xb3-120k_cityscapes-512x1024", {}),
    "aspocrnet": ("aspocrnet_hrnetv2-w48_4xb3-120k_cityscapes-512x1024", HRNET_W16),
    "deeplabv3": ("deeplabv3_r50-mg124_1xb8-20k_camvid-360x480", DEEPLAB),
    "deeplabv3plus": (
        "deeplabv3plus_r50-mg124_1xb8-20k_camvid-360x480",
        {**DEEPLAB, **LOW_LEVEL},
    ),
    "xception": ("deeplabv3plus_x41_1xb8-20k_camvid-360x480", {}),
    "denseaspp": ("denseaspp_densenet121-d8_1xb8-20k_camvid-360x480", {}),
    "denseaspp-mobilenet": ("denseaspp_mobilenet-v2-d8_4xb2-30k_cityscapes-512x512", {}),
    "refinenet": ("refinenet_r50_1xb8-20k_camvid-360x480", LEVELS),
    "refinenet-2scale": ("refinenet-2scale_r50_4xb2-60k_nyudv2-480x480", {}),
    "lw-refinenet": ("lw-refinenet_r50_1xb8-20k_camvid-360x480", LEVELS),
    "lw-refinenet-mobilenet": ("lw-refinenet_mbv2_1xb6-40k_voc12aug-512x512", {}),
    "spnet": ("spnet_r50-d8_1xb8-20k_camvid-360x480", {}),
    "pspnet-spm": ("pspnet_r50-d8-spm_1xb8-20k_camvid-360x480", {}),
    "cpnet": ("cpnet_r50-d8_1xb8-20k_camvid-360x480", {**LAST_MAP, **AUXILIARY}),
    "hanet": ("hanet_r18-os16_1xb4-150iters_camvid-120x160", {}),
    "hanet-mobilenet": ("hanet_mobilenetv2-os16_1xb8-40k_cityscapes-768x768", {}),
    "hanet-shufflenet": ("hanet_shufflenetv2-os16_1xb8-40k_cityscapes-768x768", {}),
    "hanet-pspnet": ("hanet-pspnet_r50-os8_4xb2-40k_cityscapes-512x1024", {}),
    "espnetv2": ("espnetv2-s2_1xb8-20k_camvid-180x240", {}),
    "dsrl": ("dsrl_espnetv2-s2-in180x240_1xb8-20k_camvid-360x480", {}),
    "dsrl-deeplabv3plus": (
        "dsrl_deeplabv3plus-r101-in180x240_1xb8-20k_camvid-360x480",
        DSRL_RESNET18,
    ),
    "dsrl-pspnet": ("dsrl_pspnet-r50-in256x512_4xb4-120k_cityscapes-512x1024", DSRL_PSPNET),
}

#: Those that are checked in every run; one of each paper.
QUICK = (
    *("hrnetv2", "ocrnet", "deeplabv3", "deeplabv3plus", "denseaspp-mobilenet", "lw-refinenet"),
    *("spnet", "cpnet", "hanet", "dsrl-pspnet"),
)
every_family = pytest.mark.parametrize(
    "family",
    [f if f in QUICK else pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES],
)


def config_of(family: str, **options) -> Config:
    """The small config of a family, without weights from elsewhere."""
    name, small = FAMILIES[family]
    config = Config.fromfile(packaged_configs()[name])
    config.merge_from_dict({**small, **options})
    config.model = without_pretrained(config.model)
    return config


def training_batch(config: Config, size: tuple[int, int] = CROP) -> tuple[Tensor, list]:
    """Two normalised images of noise and their labels, as a data preprocessor gives them."""
    head = config.model.decode_head
    num_classes = (head[-1] if isinstance(head, list) else head).num_classes
    samples = labelled(2, size, num_classes)
    for sample in samples:
        sample.set_metainfo(dict(row_position=row_positions(size[0]).numpy().astype("uint8")))
    return images(2, size), samples


def build(config: Config) -> BaseModel:
    """Its model, without SyncBN; statistics and small initial weights are spread out."""
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(config.model))
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model
