"""Multiply-adds at 1024 x 2048 against the published tables, of mmseg's plain form and of ours."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS
from torch.utils.flop_counter import FlopCounterMode

from mmseg_papers.__main__ import packaged_configs
from mmseg_papers.models.layers import stream_concat
from mmseg_papers.ops import upsampled_concat

CITYSCAPES = "_4xb3-120k_cityscapes-512x1024"
#: Config -> giga multiply-adds with concatenated streams, and as computed.
HRNET = {
    f"hrnetv2_w18-small-v1{CITYSCAPES}": (33.4, 27.5),
    f"hrnetv2_w18-small-v2{CITYSCAPES}": (76.9, 69.5),
    f"hrnetv2_w18{CITYSCAPES}": (147.4, 140.0),
    f"hrnetv2_w48{CITYSCAPES}": (747.5, 688.1),
    f"ocrnet_hrnetv2-w48{CITYSCAPES}": (1297.9, 951.3),
    f"ocrnet_hrnetv2-w18-small-v1{CITYSCAPES}": (294, 194.1),
}
#: Of OCR's f_up, which acts on K = 19 values instead of H W pixels.
POSITIONS, CHANNELS, KEY_CHANNELS, CLASSES = 256 * 512, 512, 256, 19
F_UP = POSITIONS * CHANNELS * KEY_CHANNELS - POSITIONS * CLASSES * (CHANNELS - KEY_CHANNELS)


def count(function, *args):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = function(*args)
    return counter.get_total_flops() / 2, result


def run_heads(heads, maps):
    logits = ()
    for head in heads:
        logits = (head(maps, *logits),)


@pytest.mark.parametrize("name", sorted(HRNET))
def test_hrnet(name, monkeypatch):
    plain, computed = HRNET[name]
    with torch.device("meta"):
        model = MODELS.build(Config.fromfile(packaged_configs()[name]).model)
    model = revert_sync_batchnorm(model).to("meta").eval()
    is_cascade = isinstance(model.decode_head, torch.nn.ModuleList)
    heads = list(model.decode_head) if is_cascade else [model.decode_head]
    backbone, maps = count(model.extract_feat, torch.empty(1, 3, 1024, 2048, device="meta"))
    ours, _ = count(run_heads, heads, maps)
    assert (backbone + ours) / 1e9 == pytest.approx(computed, abs=0.05)
    for kernel in ("1x1", "3x3"):
        op = f"conv{kernel}_of_upsampled_concat"
        monkeypatch.setattr(stream_concat, op, getattr(upsampled_concat, f"{op}_reference"))
    of_concat, _ = count(run_heads, heads, maps)
    if is_cascade:
        of_concat += F_UP
    precision = 0.05 if isinstance(plain, float) else 0.5
    assert (backbone + of_concat) / 1e9 == pytest.approx(plain, abs=precision)


#: One of each paper; of other sizes than the images' only what the model fixes.
TRACED = [
    "aspocrnet_r101-d8_4xb2-40k_cityscapes-512x1024",
    "cpnet_r50-d8_1xb8-20k_camvid-360x480",
    "deeplabv3_r50-mg124_1xb8-20k_camvid-360x480",
    "deeplabv3plus_x41_1xb8-20k_camvid-360x480",
    "denseaspp_densenet121-d8_1xb8-20k_camvid-360x480",
    "denseaspp_mobilenet-v2-d8_4xb2-30k_cityscapes-512x512",
    "dsrl_espnetv2-s2-in180x240_1xb8-20k_camvid-360x480",
    "hanet_r18-os16_1xb4-150iters_camvid-120x160",
    "hrnetv2_w18-small-v1_4xb3-120k_cityscapes-512x1024",
    "hrnetv2p-fpnhead_w18-small-v2_1xb8-20k_camvid-360x480",
    "lw-refinenet_r50_1xb8-20k_camvid-360x480",
    "ocrnet_hrnetv2-w18-small-v1_4xb3-120k_cityscapes-512x1024",
    "refinenet_r50_1xb8-20k_camvid-360x480",
    "spnet_r50-d8_1xb8-20k_camvid-360x480",
]


@pytest.mark.parametrize("name", TRACED)
def test_a_trace_holds_stock_operators_only(name):
    """``mim run mmseg get_flops`` traces the model and counts PyTorch's own operations."""
    config = Config.fromfile(packaged_configs()[name]).model
    if "prior_size" in config.decode_head:
        config.decode_head.prior_size = (8, 8)
    model = revert_sync_batchnorm(MODELS.build(config)).eval()
    trace = torch.jit.trace(model, torch.rand(1, 3, 64, 64), check_trace=False)
    kinds = {node.kind() for node in trace.inlined_graph.nodes()}
    assert "aten::_convolution" in kinds
    assert "prim::PythonOp" not in kinds
    assert all(kind.startswith(("aten::", "prim::")) for kind in kinds)
