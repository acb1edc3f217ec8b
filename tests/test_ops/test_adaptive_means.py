"""The form of adaptive pooling that exports is adaptive pooling."""

import pytest
import torch
import torch.nn.functional as F

from mmseg_papers.ops import AdaptiveMeans, adaptive_means


@pytest.mark.torch_2_7
@pytest.mark.parametrize("size", [3, (5, 2), (20, 12), (1, 7)])
def test_exported_once_for_every_size(size):
    dims = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    x = torch.randn(2, 3, 24, 30)
    program = torch.export.export(AdaptiveMeans(size), (x,), dynamic_shapes=(dims,))
    for shape in ((2, 3, 24, 30), (1, 3, 7, 11), (3, 3, 20, 12), (2, 3, 41, 2)):
        x = torch.randn(shape)
        expected = F.adaptive_avg_pool2d(x, size)
        torch.testing.assert_close(program.module()(x), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(adaptive_means(x, size), expected, rtol=0, atol=0)


def test_traced_half_precision_does_not_overflow():
    x = torch.full((1, 2, 800, 3), 100.0, dtype=torch.float16)
    traced = torch.jit.trace(AdaptiveMeans(1), x, check_trace=False)
    assert traced(x).flatten().tolist() == [100.0, 100.0]
