"""AtrousEncoderDecoder: one option for the output stride, frozen batch norm."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch.nn.modules.batchnorm import _BatchNorm


def config(**options):
    return dict(
        type="AtrousEncoderDecoder",
        backbone=dict(type="AtrousResNet", depth=18, multi_grid=(1, 2)),
        decode_head=dict(
            type="DeepLabV3Head",
            in_channels=512,
            in_index=3,
            channels=8,
            rates=(2, 4),
            num_classes=5,
            norm_cfg=dict(type="BN"),
        ),
        test_cfg=dict(mode="whole"),
        **options,
    )


def test_one_option_sets_backbone_and_pyramid():
    model = MODELS.build(config(output_stride=8)).eval()
    assert model.backbone.output_stride == 8
    assert model.decode_head.aspp.scaled_rates == (4, 8)
    other = MODELS.build(config()).eval()
    other.load_state_dict(model.state_dict(), strict=True)
    x = torch.rand(1, 3, 65, 97)
    with torch.no_grad():
        assert other(x).shape == (1, 5, 5, 7)
        assert model(x).shape == (1, 5, 9, 13)
        other.set_output_stride(8)
        torch.testing.assert_close(other(x), model(x))


def test_frozen_batch_norm_trains_its_weights():
    torch.manual_seed(0)
    model = MODELS.build(config(norm_eval=True))
    assert model.train() is model
    norms = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}
    assert not any(m.training for m in norms.values())
    assert {name.partition(".")[0] for name in norms} == {"backbone", "decode_head"}
    statistics = [m.running_mean.clone() for m in norms.values()]
    label = torch.randint(0, 5, (1, 64, 64))
    sample = SegDataSample(gt_sem_seg=PixelData(data=label), metainfo=dict(img_shape=(64, 64)))
    # Frozen, even a single image trains.
    loss, _ = model.parse_losses(model(torch.rand(1, 3, 64, 64), [sample], mode="loss"))
    loss.backward()
    assert all(m.weight.grad is not None for m in norms.values())
    for before, norm in zip(statistics, norms.values(), strict=True):
        torch.testing.assert_close(norm.running_mean, before)


def test_refuses_backbones_without_an_output_stride():
    model = config(output_stride=8)
    model["backbone"] = dict(type="ResNet", depth=18)
    with pytest.raises(ValueError, match="ResNet has no output_stride to set; use AtrousResNet"):
        MODELS.build(model)


def test_refuses_output_strides_that_do_not_fit():
    with pytest.raises(ValueError, match="output_stride must be one of 4, 8, 16, 32, got 10"):
        MODELS.build(config(output_stride=10))
