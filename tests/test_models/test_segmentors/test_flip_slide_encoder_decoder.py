"""Windows and their mirror images, against a plain form of the authors' protocol."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmseg.registry import MODELS

from mmseg_papers.models.segmentors import FusedSegTTAModel

from .tiny_models import auxiliary, head, images, labelled, model_config, one_channel, with_meta

CROP, STRIDE = (24, 32), (16, 21)
SLIDE = dict(mode="slide", crop_size=CROP, stride=STRIDE)


def build(**options):
    config = model_config(head(align_corners=True), auxiliary(), SLIDE)
    model = MODELS.build(ConfigDict({**config, "type": "FlipSlideEncoderDecoder", **options}))
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    return model.eval()


def protocol(model, image, out_size):
    """Mean of the windows' and their mirrored probabilities, (K, *out_size), window by window."""
    _, height, width = image.shape
    padded_size = [max(length, crop) for length, crop in zip((height, width), CROP, strict=True)]
    top, left = (padded_size[0] - height) // 2, (padded_size[1] - width) // 2
    padded = torch.zeros(3, *padded_size)
    padded[:, top : top + height, left : left + width] = image
    total = torch.zeros(model.out_channels, *padded_size)
    count = torch.zeros(padded_size)
    for i in range(int(np.ceil((padded_size[0] - CROP[0]) / STRIDE[0])) + 1):
        for j in range(int(np.ceil((padded_size[1] - CROP[1]) / STRIDE[1])) + 1):
            bottom = min(i * STRIDE[0] + CROP[0], padded_size[0])
            right = min(j * STRIDE[1] + CROP[1], padded_size[1])
            rows, columns = slice(bottom - CROP[0], bottom), slice(right - CROP[1], right)
            window = padded[None, :, rows, columns]
            for flipped in (False, True):
                logits = model.decode_head(model.backbone(window.flip(3) if flipped else window))
                full = F.interpolate(logits, CROP, mode="bilinear", align_corners=True)
                p = full.softmax(1)[0]
                total[:, rows, columns] += (p.flip(2) if flipped else p) / 2
            count[rows, columns] += 1
    mean = (total / count)[:, top : top + height, left : left + width]
    planes = [cv2.resize(plane, out_size[::-1]) for plane in mean.numpy()]
    return torch.from_numpy(np.stack(planes))


@pytest.mark.parametrize(
    ("size", "out_size"),
    [((40, 70), (40, 70)), ((40, 70), (61, 90)), ((19, 50), (30, 41)), ((17, 27), (17, 27))],
)
@pytest.mark.parametrize("window_batch", [1, 3])
@torch.no_grad()
def test_equals_the_protocol(size, out_size, window_batch):
    model = build(test_cfg=dict(SLIDE, window_batch=window_batch))
    batch = images(2, size)
    metas = [dict(img_shape=size, pad_shape=size, ori_shape=out_size)] * 2
    results = model(batch, with_meta(*metas), mode="predict")
    for image, result in zip(batch, results, strict=True):
        expected = protocol(model, image, out_size)
        torch.testing.assert_close(result.seg_logits.data.exp(), expected, rtol=1e-4, atol=1e-5)
        labels = result.pred_sem_seg.data
        assert labels.shape == (1, *out_size)
        assert labels.dtype == torch.int64
        assert (labels[0] == expected.argmax(0)).float().mean() > 0.995


@torch.no_grad()
def test_a_mirrored_image_gives_the_mirrored_labels():
    model = build()
    image = images(1, (24, 50))  # the windows mirror each other
    meta = dict(img_shape=(24, 50), ori_shape=(24, 50))
    straight = model(image, with_meta(meta), mode="predict")[0].seg_logits.data
    mirrored = model(image.flip(3), with_meta(meta), mode="predict")[0].seg_logits.data
    torch.testing.assert_close(mirrored.flip(2), straight, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_without_meta_information():
    result = build()(images(1, (30, 40)), None, mode="predict")[0]
    assert result.pred_sem_seg.data.shape == (1, 30, 40)
    assert result.seg_logits.data.exp().sum(0).allclose(torch.ones(30, 40))


@torch.no_grad()
def test_test_time_augmentation_averages_probabilities():
    model = build(data_preprocessor=dict(type="SegDataPreProcessor"))
    tta = FusedSegTTAModel(module=model)
    sizes = [(30, 40), (45, 60)]
    inputs = [[images(1, size)[0]] for size in sizes]
    metas = [[dict(img_shape=size, ori_shape=(30, 40))] for size in sizes]
    data = dict(inputs=inputs, data_samples=[with_meta(*meta) for meta in metas])
    merged = tta.test_step(data)[0].pred_sem_seg.data[0]
    expected = sum(protocol(model, image[0], (30, 40)) for image in inputs) / 2
    assert (merged == expected.argmax(0)).float().mean() > 0.995


def test_trains_as_the_fused_segmentor():
    model = build().train()
    losses = model(images(2, (32, 48)), labelled(2, (32, 48)), mode="loss")
    assert {"decode.loss_ce", "aux.loss_ce"} <= set(losses)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(test_cfg=dict(mode="whole")), "mode must be 'slide' .* got 'whole'"),
        (dict(decode_head=one_channel(0.5)), "at least 2 .* got 1"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
