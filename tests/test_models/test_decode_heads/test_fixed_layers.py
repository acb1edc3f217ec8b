"""Layers that heads build themselves: other ones are refused, not ignored."""

import pytest
from mmseg.registry import MODELS

import mmseg_papers.models.decode_heads  # noqa: F401

WS, LEAKY = dict(type="ConvWS"), dict(type="LeakyReLU")
ONE = dict(in_channels=16, channels=8)
FOUR = dict(in_channels=(4, 8, 8, 16))
CASES = [
    ("ASPOCRHead", ONE, dict(conv_cfg=WS)),
    ("CPHead", dict(ONE, prior_size=4), dict(conv_cfg=WS)),
    ("CPHead", dict(ONE, prior_size=4), dict(act_cfg=LEAKY)),
    ("DeepLabV3Head", ONE, dict(conv_cfg=WS)),
    ("DeepLabV3PlusDecoderHead", ONE, dict(conv_cfg=WS)),
    ("DenseASPPHead", dict(in_channels=8, bottleneck_channels=4, growth_channels=4), None),
    ("ESPNetv2Head", FOUR, None),
    ("HRNetV2Head", FOUR, dict(conv_cfg=WS)),
    ("LightWeightRefineNetHead", FOUR, None),
    ("ObjectContextHead", dict(ONE, ocr_channels=4), dict(conv_cfg=WS)),
    ("PlainDeepLabV3PlusHead", ONE, dict(conv_cfg=WS)),
    ("RefineNetHead", FOUR, None),
    ("SPHead", ONE, None),
]


@pytest.mark.parametrize(
    ("kind", "options", "other"),
    [
        (kind, options, other)
        for kind, options, given in CASES
        for other in ([given] if given else [dict(conv_cfg=WS), dict(act_cfg=LEAKY)])
    ],
)
def test_other_layers_are_refused(kind, options, other):
    (name,) = other
    with pytest.raises(ValueError, match=rf"{name} must be .*, got .*{other[name]['type']}"):
        MODELS.build(dict(type=kind, num_classes=5, **options, **other))
