"""Multiply-adds as they are computed, and as a trace shows them to other counters."""

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS

from mmseg_papers.apis import entry, multiply_adds
from mmseg_papers.apis.configs import resolved_config

CITYSCAPES = "_4xb3-120k_cityscapes-512x1024"
#: Config -> giga multiply-adds; the metafile's are those of concatenated streams.
COMPUTED = {
    f"hrnetv2_w18-small-v1{CITYSCAPES}": 27.5,
    f"hrnetv2_w18-small-v2{CITYSCAPES}": 69.5,
    f"hrnetv2_w18{CITYSCAPES}": 140.0,
    f"hrnetv2_w48{CITYSCAPES}": 688.1,
    f"ocrnet_hrnetv2-w48{CITYSCAPES}": 951.3,
    f"ocrnet_hrnetv2-w18-small-v1{CITYSCAPES}": 194.1,
}


@pytest.mark.parametrize("name", COMPUTED)
def test_hrnet(name):
    with torch.device("meta"):
        model = MODELS.build(resolved_config(name).model)
    model = revert_sync_batchnorm(model).to("meta").eval()
    counted = multiply_adds(model, torch.empty(1, 3, 1024, 2048, device="meta")) / 1e9
    assert counted == pytest.approx(COMPUTED[name], abs=0.05)
    assert counted < entry(name).multiply_adds


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
    config = resolved_config(name).model
    if "prior_size" in config.decode_head:
        config.decode_head.prior_size = (8, 8)
    model = revert_sync_batchnorm(MODELS.build(config)).eval()
    trace = torch.jit.trace(model, torch.rand(1, 3, 64, 64), check_trace=False)
    kinds = {node.kind() for node in trace.inlined_graph.nodes()}
    assert "aten::_convolution" in kinds
    assert "prim::PythonOp" not in kinds
    assert all(kind.startswith(("aten::", "prim::")) for kind in kinds)
