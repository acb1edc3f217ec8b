"""conv_norm_relu: folded at inference, the plain form where statistics or gradients matter."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.conv_ws import ConvWS2d
from torch import nn

from mmseg_papers.ops import conv_norm_relu, conv_norm_relu_reference


def make(norm, bias=False):
    for tensor in (*norm.parameters(), *norm.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2, bias=bias)
    return conv.double(), norm.double()


@pytest.mark.parametrize("bias", [False, True])
def test_inference_is_one_conv(bias, monkeypatch):
    conv, norm = make(nn.BatchNorm2d(6).eval(), bias)
    x = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    expected = conv_norm_relu_reference(x, conv, norm)
    monkeypatch.setattr(F, "batch_norm", lambda *_: pytest.fail("the norm ran by itself"))
    with torch.no_grad():
        folded = conv_norm_relu(x, conv, norm)
    torch.testing.assert_close(folded, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
def test_conv_in_half_precision_and_norm_in_float32(bias, dtype):
    conv, norm = make(nn.BatchNorm2d(6).eval(), bias)
    conv, norm = conv.to(dtype), norm.float()
    x = torch.randn(2, 4, 9, 7).to(dtype)
    with torch.no_grad():
        folded = conv_norm_relu(x, conv, norm)
        plain = conv_norm_relu_reference(x.float(), conv.float(), norm)
    assert folded.dtype == dtype
    tolerance = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(folded.float(), plain, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(6), nn.GroupNorm(3, 6).eval()])
def test_plain_form(norm):
    conv, norm = make(norm)
    x = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(conv_norm_relu(x, conv, norm), conv_norm_relu_reference(x, conv, norm))
    if norm.training:
        assert norm.num_batches_tracked == 2


@pytest.mark.parametrize(
    "conv", [nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), ConvWS2d(4, 6, 3)]
)
def test_other_convolutions(conv):
    _, norm = make(nn.BatchNorm2d(6).eval())
    conv = conv.double()
    x = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(conv_norm_relu(x, conv, norm), conv_norm_relu_reference(x, conv, norm))


@pytest.mark.parametrize("part", [0, 1])
def test_hooks_take_the_plain_form(part):
    parts = make(nn.BatchNorm2d(6).eval())
    seen = []
    parts[part].register_forward_hook(lambda *_: seen.append(part))
    with torch.no_grad():
        conv_norm_relu(torch.randn(2, 4, 9, 7, dtype=torch.float64), *parts)
    assert seen == [part]


def test_gradients_reach_the_norm():
    conv, norm = make(nn.BatchNorm2d(6).eval())
    x = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    conv_norm_relu(x, conv, norm).sum().backward()
    assert norm.weight.grad.abs().sum() > 0
