"""Conv - BN - ReLU in one map at inference."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm import NormState, is_batch_norm
from .export import references_asked
from .plain_layers import is_plain_conv


def conv_norm_relu_reference(x: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """Plain form of :func:`conv_norm_relu`: convolve, normalise, ReLU."""
    return F.relu(norm(conv(x)), inplace=True)


def conv_norm_relu(x: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """Convolve, normalise and ReLU, with the norm folded into the conv's weights at inference.

    Where gradients or batch statistics are asked for, the norm is no batch norm, the padding is
    not zero, the conv is of a derived class or one of them has hooks, this is the plain form.

    Args:
        x (Tensor): (N, C, H, W).
        conv (nn.Conv2d): Any.
        norm (nn.Module): Of its output channels.

    Returns:
        Tensor: (N, M, H', W').
    """
    is_inference = not torch.is_grad_enabled() and not norm.training
    is_foldable = is_batch_norm(norm) and is_plain_conv(conv)
    if references_asked() or not (is_inference and is_foldable):
        return conv_norm_relu_reference(x, conv, norm)
    scale, shift = NormState.of(norm).affine(norm.weight, norm.bias)
    if conv.bias is not None:
        shift = torch.addcmul(shift, conv.bias, scale)
    # Folded in the norm's precision, which may be higher.
    weight, shift = (
        t.to(conv.weight.dtype) for t in (conv.weight * scale[:, None, None, None], shift)
    )
    return F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups).relu_()
