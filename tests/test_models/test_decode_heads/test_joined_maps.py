"""Heads of one map read several of a backbone's with ``input_transform='resize_concat'``."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

import mmseg_papers.models.decode_heads  # noqa: F401

CASES = {
    "CPHead": dict(channels=4, prior_channels=4, prior_size=(8, 10)),
    "DeepLabV3Head": dict(channels=8),
    "DeepLabV3PlusHead": dict(channels=8, c1_in_channels=10),
    "DenseASPPHead": dict(bottleneck_channels=4, growth_channels=4),
    "PlainDeepLabV3PlusHead": dict(channels=8, c1_in_channels=10),
    "SPHead": dict(channels=8),
}
every_head = pytest.mark.parametrize("kind", CASES)


def head(kind, **options):
    torch.manual_seed(0)
    options = dict(type=kind, num_classes=5, norm_cfg=dict(type="BN"), **CASES[kind], **options)
    return MODELS.build(options).eval()


def joining_head(kind):
    return head(kind, in_channels=[10, 6], in_index=[0, 2], input_transform="resize_concat")


def maps():
    torch.manual_seed(1)
    shapes = [(2, 10, 8, 10), (2, 3, 4, 5), (2, 6, 4, 5)]
    return [torch.randn(shape) for shape in shapes]


@every_head
def test_equals_the_joined_map(kind):
    first, second, third = maps()
    joins = joining_head(kind)
    resized = F.interpolate(
        third, first.shape[2:], mode="bilinear", align_corners=joins.align_corners
    )
    joined = torch.cat([first, resized], dim=1)
    reads_one = head(kind, in_channels=16, in_index=2)
    reads_one.load_state_dict(joins.state_dict())
    with torch.no_grad():
        expected = reads_one([first, second, joined])
        torch.testing.assert_close(joins([first, second, third]), expected)


@every_head
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(in_channels=[10, 6], in_index=[0, 2], input_transform="multiple_select"),
            "input_transform must be None or 'resize_concat' .*, got 'multiple_select'",
        ),
        (dict(in_channels=[10, 6], in_index=[0, 2]), r"in_channels must be .*, got \[10, 6\]"),
        (dict(in_channels=16, input_transform="resize_concat"), "in_channels must be .*, got 16"),
    ],
)
def test_refuses_what_does_not_fit(kind, options, message):
    with pytest.raises(ValueError, match=message):
        head(kind, **options)
