"""What mmcv's ``ConvModule`` computes, where it is computed in another way."""

from __future__ import annotations

from collections.abc import Iterable

from mmcv.cnn import ConvModule
from torch import Tensor, nn


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


def conv_module_layers(
    modules: Iterable[nn.Module],
) -> list[tuple[nn.Module, nn.Module, nn.Module | None]] | None:
    """The layers of some ``ConvModule``, as :class:`mmseg_papers.ops.BlockDescription` has them.

    Args:
        modules (Iterable[nn.Module]): One after the other.

    Returns:
        list[tuple], optional: Conv, norm and activation of each; None if a module is of another
        class, or has no norm, another order of layers, or another than zero padding.
    """
    layers = []
    for module in modules:
        if (
            type(module) is not ConvModule
            or module.order != ("conv", "norm", "act")
            or not module.with_norm
            or module.with_explicit_padding
        ):
            return None
        activation = module.activate if module.with_activation else None
        layers.append((module.conv, module.norm, activation))
    return layers
