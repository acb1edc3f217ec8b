"""The SISR branch: sizes, its loss beside padding, initialisation, options."""

import pytest
import torch
from mmseg.registry import MODELS
from torch import nn

from mmseg_papers.models.decode_heads import DeepLabV3PlusSISRHead, SISRHead

NO_PADDING = (0, 0, 0, 0)


@pytest.mark.parametrize("size", [(64, 96), (50, 70), (8, 8), (2, 2)])
@pytest.mark.parametrize("options", [dict(), dict(upsampler="deconv"), dict(scale_factor=2)])
def test_gives_the_image_at_its_size(size, options):
    low = [torch.randn(2, c, *(-(-n // s) for n in size)) for c, s in ((6, 8), (10, 16))]
    head = SISRHead((6, 10), (0, 1), **options)
    image, feature = head(low, size)
    assert image.shape == (2, 3, *size)
    assert feature.shape[1] == (16 if options.get("upsampler") == "deconv" else 32)


def test_one_map_or_several():
    maps = [torch.randn(1, 6, 8, 8), torch.randn(1, 10, 4, 4)]
    assert SISRHead(10)(maps, (32, 32))[0].shape == (1, 3, 32, 32)
    head = SISRHead((10, 6), (1, 0))
    expected = head.mix([maps[1], maps[0]])
    torch.testing.assert_close(head.select(maps), expected)


def test_reads_what_the_deeplab_decoder_reads():
    maps = [torch.randn(2, 24, 8, 12), torch.randn(2, 40, 4, 6), torch.randn(2, 256, 2, 3)]
    head = MODELS.build(dict(type="DeepLabV3PlusSISRHead", c1_in_channels=24))
    assert head.select(maps).shape == (2, 64, 8, 12)
    assert head(maps, (64, 96))[0].shape == (2, 3, 64, 96)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (dict(type="SISRHead", in_channels=10, in_index=2), r"SISRHead\.in_index=2, but .* 2 maps"),
        (dict(type="SISRHead", in_channels=7), r"SISRHead\.in_channels=7, but .* 10 channels"),
        (dict(type="SISRHead", in_channels=(6, 9), in_index=(0, 1)), r"\(6, 9\), but .*\(6, 10\)"),
        (
            dict(type="DeepLabV3PlusSISRHead", in_channels=10, c1_in_channels=8),
            r"DeepLabV3PlusSISRHead\.c1_in_channels=8, but .* 6 channels",
        ),
    ],
)
def test_refuses_maps_that_do_not_fit(head, message):
    maps = [torch.randn(1, 6, 8, 8), torch.randn(1, 10, 4, 4)]
    with pytest.raises(ValueError, match=message):
        MODELS.build(head).select(maps)


def test_padding_is_no_target():
    head = SISRHead(4, loss_weight=0.5)
    image, target = torch.randn(2, 3, 6, 8), torch.randn(2, 3, 6, 8)
    (loss,) = head.loss_by_image(image, target, [NO_PADDING, NO_PADDING]).values()
    torch.testing.assert_close(loss, 0.5 * (image - target).square().mean())
    (padded,) = head.loss_by_image(image, target, [NO_PADDING, (0, 3, 0, 2)]).values()
    squares = (image - target).square()
    inner = torch.cat([squares[0].flatten(), squares[1, :, :4, :5].flatten()])
    torch.testing.assert_close(padded, 0.5 * inner.mean())


def test_an_image_of_padding_alone_gives_no_nan():
    head = SISRHead(4)
    image = torch.randn(1, 3, 6, 8, requires_grad=True)
    (loss,) = head.loss_by_image(image, torch.zeros(1, 3, 6, 8), [(0, 8, 0, 0)]).values()
    loss.backward()
    assert loss == 0


def test_initialised_as_espcn():
    head = SISRHead(24)
    head.init_weights()
    first, last = head.body[0], head.tail[0]
    assert first.weight.std().item() == pytest.approx((2 / (64 * 25)) ** 0.5, rel=0.05)
    assert last.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert all((m.bias == 0).all() for m in head.modules() if isinstance(m, nn.Conv2d))


def test_init_cfg_wins():
    head = DeepLabV3PlusSISRHead(init_cfg=dict(type="Constant", layer="Conv2d", val=0.25))
    head.init_weights()
    assert (head.tail[0].weight == 0.25).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(upsampler="bicubic"), "upsampler must be one of espcn, deconv, got 'bicubic'"),
        (dict(upsampler="deconv", scale_factor=4), "scale_factor must be 8 .*got 4"),
        (dict(scale_factor=0), "scale_factor must be at least 1, got 0"),
        (dict(in_channels=(4, 8)), r"one length, got \(4, 8\) and -1"),
        (dict(in_channels=(4, 8), in_index=(0,)), r"got \(4, 8\) and \(0,\)"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        SISRHead(**{"in_channels": 4, **options})
