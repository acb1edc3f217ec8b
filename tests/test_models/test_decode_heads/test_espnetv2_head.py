"""ESPNetv2's decoder: sizes, the void class, cost."""

import pytest
import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_papers.apis import multiply_adds
from mmseg_papers.models.backbones.espnetv2 import CHANNELS, ESPNetv2
from mmseg_papers.models.decode_heads import ESPNetv2Head
from mmseg_papers.models.layers import DeconvSSSR

from ..test_segmentors.tiny_models import labelled


@pytest.mark.parametrize("size", [(32, 48), (37, 50), (17, 16)])
def test_any_size(size):
    net, head = ESPNetv2(0.5).eval(), ESPNetv2Head(CHANNELS[0.5], 19).eval()
    logits = head(net(torch.rand(2, 3, *size)))
    assert logits.shape == (2, 19, *(-(-n // 2) for n in size))


def test_void_class():
    head = ESPNetv2Head(CHANNELS[0.5], 19, void_class=True)
    assert (head.num_classes, head.out_channels, head.channels) == (19, 20, 10)
    maps = ESPNetv2(0.5)(torch.rand(2, 3, 32, 32))
    assert head(maps).shape[1] == 20
    losses = head.loss(maps, labelled(2, (32, 32)), {})
    losses["loss_ce"].backward()
    assert head.conv_seg.bias.grad[19] > 0  # ever less likely


def test_cost_at_256x512():
    """The authors' counter sees 674.5 M multiply-adds and misses 589.8 M in the deconvolutions."""
    with torch.device("meta"):
        net, head = ESPNetv2(2.0).eval(), ESPNetv2Head(CHANNELS[2.0], 19, void_class=True).eval()
        sssr, x = DeconvSSSR(20).eval(), torch.rand(1, 3, 256, 512)
    logits = head(net(x))
    assert round(multiply_adds(lambda x: head(net(x)), x) / 1e6, 1) == 674.5
    assert round(multiply_adds(sssr, logits, None) / 1e6, 1) == 589.8


def test_needs_four_maps():
    with pytest.raises(ValueError, match=r"maps of strides 2, 4, 8 and 16, got \(16, 32\)"):
        MODELS.build(dict(type="ESPNetv2Head", in_channels=(16, 32), num_classes=19))


def test_predicts_in_a_stock_segmentor():
    model = MODELS.build(
        dict(
            type="FusedEncoderDecoder",
            backbone=dict(type="ESPNetv2", scale=0.5),
            decode_head=dict(
                type="ESPNetv2Head", in_channels=CHANNELS[0.5], num_classes=19, void_class=True
            ),
            test_cfg=dict(mode="whole"),
        )
    ).eval()
    meta = dict(img_shape=(33, 47), ori_shape=(50, 70))
    with torch.no_grad():
        (result,) = model(torch.rand(1, 3, 33, 47), [SegDataSample(metainfo=meta)], "predict")
    assert result.pred_sem_seg.data.shape == (1, 50, 70)
