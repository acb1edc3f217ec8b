"""Strides turned into rates as the paper's tables say."""

import pytest
from torch import nn

from mmseg_papers.models.layers import set_stride_and_rate, strides_to_rates

#: Strides of Xception-65's modules, one of the middle flow's shown
XCEPTION = (2, 2, 2, 1, 2, 1)


@pytest.mark.parametrize(
    ("output_stride", "plan"),
    [
        (32, [(2, 1), (2, 1), (2, 1), (1, 1), (2, 1), (1, 1)]),
        (16, [(2, 1), (2, 1), (2, 1), (1, 1), (1, 1), (1, 2)]),
        (8, [(2, 1), (2, 1), (1, 1), (1, 2), (1, 2), (1, 4)]),
        (4, [(2, 1), (1, 1), (1, 2), (1, 4), (1, 4), (1, 8)]),
    ],
)
def test_a_unit_whose_stride_is_removed_keeps_the_rate(output_stride, plan):
    assert strides_to_rates(XCEPTION, output_stride, stem_stride=2) == plan


def test_without_contraction_it_has_the_new_rate():
    assert strides_to_rates((1, 2, 1), 4, 4, contract=False) == [(1, 1), (1, 2), (1, 2)]
    assert strides_to_rates((1, 2, 1), 4, 4, contract=True) == [(1, 1), (1, 1), (1, 2)]


@pytest.mark.parametrize("output_stride", [0, 6, 64])
def test_refuses_what_the_network_cannot_have(output_stride):
    with pytest.raises(ValueError, match=rf"one of 2, 4, 8, 16, 32, got {output_stride}"):
        strides_to_rates(XCEPTION, output_stride, stem_stride=2)


def test_padding_keeps_the_size():
    conv = nn.Conv2d(1, 1, 3)
    set_stride_and_rate(conv, 1, 7)
    assert (conv.stride, conv.dilation, conv.padding) == ((1, 1), (7, 7), (7, 7))
    point = nn.Conv2d(1, 1, 1)
    set_stride_and_rate(point, 2, 1)
    assert (point.stride, point.padding) == ((2, 2), (0, 0))
