"""CPNet: affinity loss and context prior, against the authors' computation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_papers import ops

from . import device, random_map

CLASSES = 150
CHANNELS = 512


def positions_label(batch: int, side: int) -> Tensor:
    """Classes of the positions, in blocks of 6 x 6, some ignored."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randint(0, CLASSES, (batch, side // 6, side // 6), generator=generator)
    label = coarse.repeat_interleave(6, 1).repeat_interleave(6, 2).flatten(1)
    label[:, : side // 2] = 255
    return label.to(device())


def original_affinity_loss(prior: Tensor, label: Tensor) -> Tensor:
    """Sum of the four terms from P (B, query, key), with the ideal affinity map as a product."""
    one_hot = F.one_hot(label.clamp(max=CLASSES), CLASSES + 1).to(prior)
    affinity = one_hot @ one_hot.transpose(1, 2)
    companions = affinity - torch.eye(label.shape[1]).to(prior)
    strangers = 1 - affinity
    found = (prior * companions).sum(2)
    ratios = [
        found / companions.sum(2),
        ((1 - prior) * strangers).sum(2) / strangers.sum(2),
        found / prior.sum(2),
    ]
    return F.binary_cross_entropy(prior, affinity) + sum(
        F.binary_cross_entropy(ratio, torch.ones_like(ratio)) for ratio in ratios
    )


def affinity_loss(
    variant: str, layout: torch.memory_format, batch: int, side: int
) -> Callable[[], list[Tensor]]:
    """Loss and gradient of a prior's logits."""
    logits = random_map((batch, side * side, side, side), layout, grad=True)
    label = positions_label(batch, side)

    def stock() -> list[Tensor]:
        prior = logits.flatten(2).sigmoid().transpose(1, 2)
        loss = original_affinity_loss(prior, label)
        return [loss.detach(), *torch.autograd.grad(loss, logits)]

    def ours() -> list[Tensor]:
        loss = ops.affinity_loss(logits, label).sum()
        return [loss.detach(), *torch.autograd.grad(loss, logits)]

    return stock if variant == "stock" else ours


def original_contexts(value: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Both contexts for P (B, query, key): two products."""
    flat = value.flatten(2).transpose(1, 2)
    contexts = (prior @ flat / prior.shape[2], (1 - prior) @ flat / prior.shape[2])
    return tuple(y.transpose(1, 2).reshape(value.shape) for y in contexts)


def prior_inputs(
    layout: torch.memory_format, batch: int, side: int, grad: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Aggregated features, the prior's convolution, weight and bias of its norm."""
    value = random_map((batch, CHANNELS, side, side), layout).relu_().requires_grad_(grad)
    weight = random_map((side * side, CHANNELS, 1, 1), torch.contiguous_format) / CHANNELS**0.5
    ones = torch.ones(side * side, device=device(), requires_grad=grad)
    zeros = torch.zeros(side * side, device=device(), requires_grad=grad)
    return value, weight.requires_grad_(grad), ones, zeros


def inference(variant: str, layout: torch.memory_format, side: int) -> Callable[[], list[Tensor]]:
    """Both contexts of one image, from its aggregated features."""
    value, weight, scale, shift = prior_inputs(layout, 1, side, grad=False)
    mean, var = torch.zeros_like(scale), torch.ones_like(scale)

    def stock() -> list[Tensor]:
        logits = F.batch_norm(F.conv2d(value, weight), mean, var, scale, shift, eps=0)
        return list(original_contexts(value, logits.sigmoid().flatten(2).transpose(1, 2)))

    def ours() -> list[Tensor]:
        context = ops.context_prior(value, weight, scale, shift)
        return [context, value.mean((2, 3), keepdim=True) - context]

    return stock if variant == "stock" else ours


def training(
    variant: str, layout: torch.memory_format, batch: int, side: int, streams: bool
) -> Callable[[], list[Tensor]]:
    """Contexts, affinity loss and all gradients, from the aggregated features."""
    inputs = value, weight, gamma, beta = prior_inputs(layout, batch, side, grad=True)
    label = positions_label(batch, side)
    of_context = [random_map(value.shape, layout), 2 * random_map(value.shape, layout)]

    def result(contexts: list[Tensor], loss: Tensor) -> list[Tensor]:
        upstream = [*of_context, torch.ones_like(loss)]
        return [loss.detach(), *torch.autograd.grad([*contexts, loss], inputs, upstream)]

    def logits() -> Tensor:
        return F.batch_norm(F.conv2d(value, weight), None, None, gamma, beta, training=True)

    def stock() -> list[Tensor]:
        prior = logits().sigmoid().flatten(2).transpose(1, 2)
        return result(original_contexts(value, prior), original_affinity_loss(prior, label))

    def ours() -> list[Tensor]:
        if streams:
            context, sums, _ = ops.context_prior_and_sums(value, weight, gamma, beta, label)
            terms = ops.affinity_terms(sums, label)
        else:
            scores = logits()
            context, terms = ops.gather_context(value, scores), ops.affinity_loss(scores, label)
        return result([context, value.mean((2, 3), keepdim=True) - context], terms.sum())

    return stock if variant == "stock" else ours


TASKS = {
    "affinity_loss": {
        "N = 3600, batch 2, K = 150": partial(affinity_loss, batch=2, side=60),
    },
    "context_prior": {
        f"inference, N = {side**2}": partial(inference, side=side) for side in (60, 96)
    },
    "context_prior_and_sums": {
        "N = 3600, batch 2": partial(training, batch=2, side=60, streams=True),
    },
    "gather_context": {
        "with affinity_loss, N = 3600, batch 2": partial(training, batch=2, side=60, streams=False),
    },
}
