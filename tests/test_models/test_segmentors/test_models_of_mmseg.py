"""The segmentors around mmseg's own models: its results with only ``type`` changed."""

from __future__ import annotations

from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import PixelData
from torch import nn

from mmseg_papers.apis.zoo import without_pretrained

from .tiny_models import build_pair, images, labelled

CONFIGS = Path(mmseg.__file__).parent / ".mim" / "configs"
#: Heads that choose their maps themselves, and transformers whose maps come with a class token.
QUICK = {"ddrnet": "ddrnet/*slim*", "dpt": "dpt/*", "pidnet": "pidnet/pidnet-s_*"}
#: One of every other family whose size is free and that mmseg alone can build.
OTHERS = {
    **{f"{name}": f"{name}/*r50*" for name in ("ann", "apcnet", "danet", "dmnet", "dnlnet")},
    **{f"{name}": f"{name}/*r50*" for name in ("emanet", "encnet", "fastfcn", "gcnet", "isanet")},
    **{f"{name}": f"{name}/*r50*" for name in ("knet", "nonlocal_net", "sem_fpn")},
    **{f"{name}": f"{name}/*r18*" for name in ("bisenetv1", "deeplabv3", "deeplabv3plus", "icnet")},
    **{f"{name}": f"{name}/*r18*" for name in ("pspnet", "upernet")},
    **{f"{name}": f"{name}/*hr18_*" for name in ("hrnet", "ocrnet")},
    **{f"{name}": f"{name}/*" for name in ("bisenetv2", "cgnet", "erfnet", "fastscnn", "stdc")},
    **{f"{name}": f"{name}/*" for name in ("mobilenet_v2", "resnest", "segmenter", "setr", "swin")},
    **{f"{name}": f"{name}/*" for name in ("twins", "unet", "vit")},
    "segformer": "segformer/*b0*",
    "segnext": "segnext/*mscan-t*",
}
SIZE = (64, 128)


@pytest.mark.parametrize("mode", ["loss", "predict"])
@pytest.mark.parametrize(
    "family", [*QUICK, *(pytest.param(family, marks=pytest.mark.slow) for family in OTHERS)]
)
def test_equals_mmseg(family, mode):
    pattern = {**QUICK, **OTHERS}[family]
    config = Config.fromfile(min(CONFIGS.glob(f"{pattern}.py")))
    model = without_pretrained(config.model)
    for part in (model, model.backbone):
        part.pop("pretrained", None)
    size = SIZE
    if model.test_cfg.mode == "slide":
        size = (64, 64)
        model.test_cfg.update(crop_size=size, stride=(48, 48))
    torch.manual_seed(0)
    pair = [revert_sync_batchnorm(m).train(mode == "loss") for m in build_pair(model)]
    head = pair[0].decode_head
    x = images(2, size)
    # PIDNet has class weights, with which mmseg 1.2.2 takes no ignored pixels.
    ignored = 0 if family == "pidnet" else 0.2
    num_classes = (head[-1] if isinstance(head, nn.ModuleList) else head).num_classes
    samples = labelled(2, size, num_classes, ignored)
    if family == "pidnet":
        for sample in samples:
            sample.gt_edge_map = PixelData(data=torch.randint(2, (1, *size)))
    results = []
    for segmentor in pair:
        torch.manual_seed(0)  # dropout
        with torch.set_grad_enabled(mode == "loss"):
            results.append(segmentor(x, [sample.clone() for sample in samples], mode=mode))
    expected, got = results
    if mode == "loss":
        assert set(got) == set(expected)
        for name in expected:
            torch.testing.assert_close(got[name], expected[name], rtol=1e-5, atol=1e-5)
        return
    for a, b in zip(got, expected, strict=True):
        # Two scores may tie to rounding.
        different = a.pred_sem_seg.data != b.pred_sem_seg.data
        assert different.double().mean() < 1e-3
        torch.testing.assert_close(a.seg_logits.data, b.seg_logits.data, rtol=1e-4, atol=1e-4)
