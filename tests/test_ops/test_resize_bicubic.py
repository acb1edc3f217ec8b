"""resize_bicubic: MATLAB's kernel and border, and a true adjoint."""

import pytest
import torch
import torch.nn.functional as F

from mmseg_papers.ops import resize_bicubic


@pytest.mark.parametrize("size", [(40, 54), (12, 16), (20, 90)])
def test_equals_antialiased_bicubic_inside_the_border(size):
    x = torch.randn(1, 2, 30, 40, dtype=torch.float64)
    theirs = F.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
    inside = slice(None), slice(None), slice(5, -5), slice(5, -5)
    torch.testing.assert_close(resize_bicubic(x, size)[inside], theirs[inside])


def test_the_border_is_mirrored():
    """The edge of a map equals the middle of the map beside its mirror image."""
    x = torch.randn(1, 1, 6, 8, dtype=torch.float64)
    mirrored = torch.cat([x.flip(3), x], dim=3)
    wide = resize_bicubic(mirrored, (6, 48))[..., 24:]
    torch.testing.assert_close(resize_bicubic(x, (6, 24))[..., :12], wide[..., :12])


def test_keeps_constants_and_sizes():
    for size in ((1, 1), (3, 17), (9, 2)):
        y = resize_bicubic(torch.full((2, 3, 5, 7), 4.0), size)
        torch.testing.assert_close(y, torch.full((2, 3, *size), 4.0))
    x = torch.randn(1, 2, 5, 7)
    torch.testing.assert_close(resize_bicubic(x, (5, 7)), x)


def test_gradcheck():
    x = torch.randn(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resize_bicubic(x, (5, 3)), x)


def test_half_precision_and_empty_batches():
    x = torch.randn(1, 2, 5, 7)
    y = resize_bicubic(x.half(), (9, 14))
    torch.testing.assert_close(y, resize_bicubic(x.half().float(), (9, 14)).half())
    assert resize_bicubic(x[:0], (9, 14)).shape == (0, 2, 9, 14)


def test_refuses_integers_and_no_size():
    with pytest.raises(TypeError, match=r"x must be floating point, got torch\.uint8"):
        resize_bicubic(torch.ones(1, 1, 2, 2, dtype=torch.uint8), (3, 3))
    with pytest.raises(ValueError, match=r"at least 1, got \(0, 3\)"):
        resize_bicubic(torch.rand(1, 1, 2, 2), (0, 3))
