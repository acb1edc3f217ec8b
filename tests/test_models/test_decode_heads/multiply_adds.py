"""Multiply-adds of convolutions, counted while they run."""

from collections import Counter

import torch
from torch import nn


def multiply_adds(model, call, *inputs):
    """By kind of layer, of what ``call(*inputs)`` runs of ``model``."""
    counts = Counter()

    def count(layer, args, output):
        pixels = (args[0] if isinstance(layer, nn.ConvTranspose2d) else output)[0, 0].numel()
        counts[type(layer)] += len(output) * pixels * layer.weight.numel()

    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    handles = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        call(*inputs)
    for handle in handles:
        handle.remove()
    return counts
