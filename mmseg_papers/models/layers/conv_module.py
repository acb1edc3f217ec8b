"""What mmcv's ``ConvModule`` does behind its convolution."""

from __future__ import annotations

from mmcv.cnn import ConvModule
from torch import Tensor


def norm_and_activate(module: ConvModule, y: Tensor) -> Tensor:
    """Norm and activation of a module whose convolution was computed in another way.

    Args:
        module (ConvModule): Whose convolution, norm and activation follow in this order.
        y (Tensor): What its convolution gives, (N, C, H, W).

    Returns:
        Tensor: What the module gives, (N, C, H, W).
    """
    if module.with_norm:
        y = module.norm(y)
    return module.activate(y) if module.with_activation else y
