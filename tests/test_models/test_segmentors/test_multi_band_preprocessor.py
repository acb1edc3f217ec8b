"""Normalisation of any number of channels."""

import pytest
import torch
from mmseg.registry import MODELS


def build(**options):
    return MODELS.build(dict(type="MultiBandPreProcessor", **options))


def test_equals_mmsegs_for_three_channels():
    options = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])
    theirs = MODELS.build(dict(type="SegDataPreProcessor", **options))
    data = dict(inputs=[torch.rand(3, 4, 5)])
    ours = build(**options)(data)["inputs"]
    torch.testing.assert_close(ours, theirs(data)["inputs"], rtol=0, atol=0)


def test_five_channels():
    mean, std = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 1.0, 2.0, 1.0]
    image = torch.tensor(mean).view(5, 1, 1).expand(5, 2, 2) + 2
    out = build(mean=mean, std=std)(dict(inputs=[image]))["inputs"]
    assert out[0, :, 0, 0].tolist() == [2, 1, 2, 1, 2]


def test_refuses():
    with pytest.raises(ValueError, match="mean has 2 values and std 1"):
        build(mean=[0, 0], std=[1])
    with pytest.raises(ValueError, match="std must be positive"):
        build(mean=[0], std=[0])
    with pytest.raises(ValueError, match=r"mean has 4 values, but an image has 3 .*unchanged"):
        build(mean=[0] * 4, std=[1] * 4)(dict(inputs=[torch.rand(3, 4, 5)]))
