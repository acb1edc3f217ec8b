"""Multiply-adds by hand."""

import pytest
import torch
from torch import nn

from mmseg_papers.apis import multiply_adds
from mmseg_papers.ops import conv1x1_of_upsampled_concat, use_references


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (nn.Conv2d(4, 6, 3, padding=1), 8 * 8 * 6 * 4 * 9),
        (nn.Conv2d(4, 6, 3, padding=1, groups=2), 8 * 8 * 6 * 2 * 9),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), 8 * 8 * 4 * 6 * 4),
        (lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2), 4 * 64 * 4),
        (nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Upsample(2)), 0),
    ],
)
def test_counts(call, expected):
    assert multiply_adds(call, torch.randn(1, 4, 8, 8)) == expected


def test_references_are_counted_whole():
    xs = [torch.empty(1, 64, size, size, device="meta") for size in (4, 2)]
    weight = torch.empty(3, 128, 1, 1, device="meta")
    assert multiply_adds(conv1x1_of_upsampled_concat, xs, weight) == (16 + 4) * 3 * 64
    with use_references():
        assert multiply_adds(conv1x1_of_upsampled_concat, xs, weight) == 16 * 3 * 128
