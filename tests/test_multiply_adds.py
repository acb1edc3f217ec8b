"""Multiply-adds at 1024 x 2048 of HRNet's heads as they are computed, below the plain formulas'."""

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS

from mmseg_papers.apis import entry, multiply_adds
from mmseg_papers.apis.zoo import resolved_config

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
