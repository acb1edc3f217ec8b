"""HRNetV2Head: mmseg's FCNHead at a fraction of its cost."""

import pytest
import torch
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS

from mmseg_papers.models.decode_heads import HRNetV2Head

WIDTHS = (4, 8, 16, 160)  # the last is wide enough to be convolved at its own resolution


def streams(size=(17, 22)):
    return [
        torch.rand(2, c, -(-size[0] // 2**r), -(-size[1] // 2**r)) for r, c in enumerate(WIDTHS)
    ]


@pytest.mark.parametrize("align_corners", [False, True])
def test_equals_mmseg_with_its_weights(align_corners):
    options = dict(num_classes=5, norm_cfg=dict(type="BN"), align_corners=align_corners)
    theirs = FCNHead(
        in_channels=WIDTHS,
        in_index=(0, 1, 2, 3),
        channels=sum(WIDTHS),
        input_transform="resize_concat",
        kernel_size=1,
        num_convs=1,
        concat_input=False,
        dropout_ratio=-1,
        **options,
    )
    ours = HRNetV2Head(WIDTHS, **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    xs = streams()
    for mode in (True, False):
        a, b = theirs.train(mode)(xs), ours.train(mode)(xs)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_refuses_maps_of_other_widths():
    head = HRNetV2Head((16, 32, 64, 128), num_classes=5, norm_cfg=dict(type="BN"))
    with pytest.raises(ValueError, match=r"in_channels=\(16, 32, 64, 128\), but .*\(4, 8, 16, 160"):
        head(streams())


def test_channels_may_be_left_to_the_head():
    model = dict(
        type="FusedEncoderDecoder",
        backbone=dict(type="HighResolutionNet", arch="w18_small_v1"),
        decode_head=dict(
            type="HRNetV2Head", in_channels=(16, 32, 64, 128), channels=None, num_classes=3
        ),
        test_cfg=dict(mode="whole"),
    )
    with torch.device("meta"):
        assert MODELS.build(model).decode_head.channels == 240


def test_refuses_one_number():
    with pytest.raises(TypeError, match="in_channels must list"):
        HRNetV2Head(270, num_classes=5)


def test_refuses_other_convolutions():
    with pytest.raises(ValueError, match="conv_cfg must be None or Conv2d"):
        HRNetV2Head(WIDTHS, num_classes=5, conv_cfg=dict(type="DCN"))


def test_refuses_an_unfit_in_index():
    with pytest.raises(ValueError, match=r"one map for each of in_channels=.*got \(0, 1\)"):
        HRNetV2Head(WIDTHS, num_classes=5, in_index=(0, 1))
    head = HRNetV2Head(WIDTHS, num_classes=5, in_index=(0, 1, 2, 4))
    with pytest.raises(ValueError, match=r"in_index=\(0, 1, 2, 4\), but the backbone has 4 maps"):
        head(streams())
