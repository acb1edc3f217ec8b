"""HANet's DeepLabV3+ head and its auxiliary head."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample


def build(**options):
    return MODELS.build(
        dict(
            type="PlainDeepLabV3PlusHead",
            in_channels=16,
            in_index=1,
            channels=8,
            c1_in_channels=6,
            num_classes=5,
            **{"norm_cfg": dict(type="BN"), **options},
        )
    ).eval()


@pytest.mark.parametrize(
    ("output_stride", "rates"),
    [(4, (24, 48, 72)), (8, (12, 24, 36)), (16, (6, 12, 18)), (32, (3, 6, 9))],
)
def test_rates_follow_the_output_stride(output_stride, rates):
    head = build(output_stride=output_stride)
    assert head.aspp.scaled_rates == rates
    maps = [torch.randn(2, 6, 12, 20), torch.randn(2, 16, 3, 5)]
    assert head(maps).shape == (2, 5, 12, 20)


@pytest.mark.parametrize("options", [dict(norm_cfg=None), dict(act_cfg=None)])
def test_without_norm_or_activation(options):
    maps = torch.rand(2, 6, 16, 16), torch.rand(2, 16, 4, 4)
    assert build(**options)(maps).shape == (2, 5, 16, 16)


def test_no_dropout_and_corners_aligned():
    head = build()
    assert head.dropout is None
    assert head.align_corners


@pytest.mark.parametrize(
    ("channels", "message"),
    [((6, 9), "in_channels=16, but the backbone's map 1 has 9"), ((7, 16), "c1_in_channels=6")],
)
def test_maps_of_other_channels(channels, message):
    with pytest.raises(ValueError, match=message):
        build()([torch.randn(1, channels[0], 8, 8), torch.randn(1, channels[1], 4, 4)])


@pytest.mark.parametrize("index", [2, -3])
def test_missing_low_level_map(index):
    with pytest.raises(ValueError, match=rf"c1_index={index}, but the head gets 2 maps"):
        build(c1_index=index)([torch.randn(1, 6, 8, 8), torch.randn(1, 16, 4, 4)])


def test_auxiliary_loss_is_taken_at_the_size_of_the_logits():
    options = dict(in_channels=4, channels=4, num_classes=5)
    head = MODELS.build(dict(type="LowResolutionFCNHead", align_corners=True, **options))
    label = torch.randint(0, 5, (2, 1, 16, 24))
    logits = torch.randn(2, 5, 4, 6)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=x)) for x in label]
    got = head.loss_by_feat(logits, samples)["loss_ce"]
    torch.testing.assert_close(got, F.cross_entropy(logits, label[:, 0, ::4, ::4]))
