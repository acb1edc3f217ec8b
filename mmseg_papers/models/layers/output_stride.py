"""Strides turned into atrous rates, so that one set of weights runs at any output stride."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from ...ops.export import is_traced


def strides_to_rates(
    strides: Sequence[int], output_stride: int, stem_stride: int, contract: bool = True
) -> list[tuple[int, int]]:
    """Stride and rate of each unit of a network at an output stride.

    Units keep their stride until the network's stride has reached ``output_stride``; from there
    every stride becomes a rate of the units that follow (arXiv:1706.05587, section 3.1). The
    receptive field of every unit stays what it is without atrous convolution where the unit whose
    stride is removed keeps the rate from before, as in the authors' code; most PyTorch code lets
    that unit have the new rate already.

    Args:
        strides (Sequence[int]): Strides of the units, in order.
        output_stride (int): Input size over the size of the last map.
        stem_stride (int): Stride of what comes before the units.
        contract (bool): Whether a unit whose stride is removed keeps the old rate. Default: True.

    Returns:
        list[tuple[int, int]]: (stride, rate) of each unit.

    Raises:
        ValueError: If it is no int, or the network's stride never equals ``output_stride``.
    """
    if not isinstance(output_stride, int):
        raise ValueError(f"output_stride must be an int, got {output_stride!r}")
    current, rate, plan, reached = stem_stride, 1, [], [stem_stride]
    for stride in strides:
        if current < output_stride:
            current *= stride
            plan.append((stride, 1))
        else:
            plan.append((1, rate if contract else rate * stride))
            rate *= stride
        reached.append(reached[-1] * stride)
    if current != output_stride:
        allowed = ", ".join(map(str, dict.fromkeys(reached)))
        raise ValueError(f"output_stride must be one of {allowed}, got {output_stride}")
    return plan


def set_stride_and_rate(conv: nn.Conv2d, stride: int, rate: int) -> None:
    """Give a convolution another stride and rate, padded so that stride 1 keeps the size.

    Args:
        conv (nn.Conv2d): Of an odd kernel size.
        stride (int): Of both sides.
        rate (int): Atrous rate (dilation) of both sides.
    """
    conv.stride = (stride, stride)
    conv.dilation = (rate, rate)
    conv.padding = tuple(rate * (size // 2) for size in conv.kernel_size)


def warn_of_dead_rates(x: Tensor, rates: Iterable[int]) -> None:
    """Warn if 3x3 convs at some rates read only padding beside the centre of their kernel.

    Args:
        x (Tensor): The map that they convolve, (N, C, H, W).
        rates (Iterable[int]): Their rates.
    """
    height, width = x.shape[2:]
    dead = [rate for rate in rates if rate >= min(height, width)]
    if dead and not is_traced():  # a warning would break the graph
        warnings.warn(
            f"at rates {dead} a 3x3 conv on a map of {height} x {width} sees only padding around "
            "its centre, at least along the shorter side (arXiv:1706.05587, section 3.3); use a "
            "larger crop_size or smaller rates",
            stacklevel=2,
        )
