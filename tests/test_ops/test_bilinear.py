"""The taps are PyTorch's."""

import pytest
import torch
import torch.nn.functional as F

from mmseg_papers.ops.bilinear import bilinear_taps


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("in_size", "out_size"), [(1, 1), (1, 5), (5, 1), (3, 7), (7, 3), (9, 9)])
def test_taps(in_size, out_size, align_corners):
    x = torch.randn(in_size, dtype=torch.float64)
    lower, upper, weight = bilinear_taps(in_size, out_size, align_corners, dtype=x.dtype)
    expected = F.interpolate(
        x.reshape(1, 1, in_size, 1), (out_size, 1), mode="bilinear", align_corners=align_corners
    ).flatten()
    torch.testing.assert_close((1 - weight) * x[lower] + weight * x[upper], expected)
