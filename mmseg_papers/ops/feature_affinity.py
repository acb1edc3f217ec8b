"""Difference of two feature maps' pixel-to-pixel affinities, without an affinity matrix."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .export import is_exporting
from .once_differentiable import graph_anchor, once_differentiable
from .precision import accumulation_dtype, check_floating_point, no_autocast
from .triton_device import check_one_device

#: Rows of the affinities that are held at a time (p = 1). On a CPU they stay in its caches.
CPU_BLOCK_ROWS = 128
BLOCK_ROWS = 2048
#: Pixels whose products are added in float64 at a time (p = 2).
CHUNK_PIXELS = 512
#: Affinities of a unit vector with itself differ by rounding alone; one of a zero vector by 1.
DIAGONAL_ROUNDING = 1e-3
EPS = 1e-6


def feature_affinity_reference(
    feature1: Tensor, feature2: Tensor, *, p: int = 1, normalize: bool = True, eps: float = EPS
) -> Tensor:
    """Plain form of :func:`feature_affinity`: both N x N matrices, their difference, its mean."""
    affinities = []
    for feature in (feature1, feature2):
        f = feature.flatten(2).to(accumulation_dtype(feature))
        if normalize:
            f = F.normalize(f, dim=1, eps=eps)
        affinities.append(f.transpose(1, 2) @ f)
    difference = affinities[0] - affinities[1]
    return (difference.abs() if p == 1 else difference.square()).mean((1, 2))


def feature_affinity(
    feature1: Tensor, feature2: Tensor, *, p: int = 1, normalize: bool = True, eps: float = EPS
) -> Tensor:
    """Mean difference of the affinities of all pairs of pixels in two maps.

    With F_i the feature of pixel i (of unit length, if ``normalize``) and S_ij = <F_i, F_j>, the
    result is 1/N^2 sum_ij abs(S1_ij - S2_ij)^p for N pixels (DSRL, feature-affinity loss). Exact:

    - ``p=1`` goes through the upper triangle of S1 - S2 a block of rows at a time. The gradient is
      made in the same pass, so neither matrix is ever held: O(N^2 C) time, O(N C) memory.
    - ``p=2`` needs the products of channels only, for F1, F2 and between them:
      abs(F1^T F1 - F2^T F2)^2 = abs(F1 F1^T)^2 + abs(F2 F2^T)^2 - 2 abs(F1 F2^T)^2. O(N C^2) time,
      O(N C) memory. The three nearly cancel, so they are added in float64.

    Half precision is computed in float32. The backward is deterministic and cannot be
    differentiated again. Times and memory against the plain form are in docs/benchmarks.md.

    Args:
        feature1 (Tensor): (B, C1, H, W), floating point.
        feature2 (Tensor): (B, C2, H, W); the numbers of channels may differ.
        p (int): 1, as in the paper, or 2. Default: 1.
        normalize (bool): Whether features are divided by max(length, ``eps``). Default: True.
        eps (float): The least length. Default: 1e-6.

    Returns:
        Tensor: (B,), one value for each image, in float32, or float64 for float64 features.

    Raises:
        TypeError: If the features are not floating point.
        ValueError: If the maps differ in batch, size or device, hold no pixel, or p is not 1 or 2.
    """
    _check(feature1, feature2, p)
    if is_exporting():
        return feature_affinity_reference(feature1, feature2, p=p, normalize=normalize, eps=eps)
    dtype = torch.promote_types(accumulation_dtype(feature1), accumulation_dtype(feature2))
    with no_autocast(feature1):
        f1, f2 = (x.flatten(2).to(dtype) for x in (feature1, feature2))
        if normalize:
            f1, f2 = (F.normalize(f, dim=1, eps=eps) for f in (f1, f2))
        anchors = graph_anchor(f1), graph_anchor(f2)
        return _FeatureAffinity.apply(f1, f2, *anchors, p, normalize, torch.is_grad_enabled())


def _check(feature1: Tensor, feature2: Tensor, p: int) -> None:
    if p not in (1, 2):
        raise ValueError(f"p must be 1 or 2, got {p!r}")
    for name, x in (("feature1", feature1), ("feature2", feature2)):
        if x.dim() != 4 or 0 in x.shape[1:]:
            raise ValueError(f"{name} must be (B, C, H, W) with C, H, W >= 1, got {tuple(x.shape)}")
        check_floating_point(name, x)
    sizes = [(x.shape[0], *x.shape[2:]) for x in (feature1, feature2)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            "the features must be of one batch and size (pool them to one grid), "
            f"got {tuple(feature1.shape)} and {tuple(feature2.shape)}"
        )
    check_one_device(feature1=feature1, feature2=feature2)


class _FeatureAffinity(torch.autograd.Function):
    """Values (B,) whose gradients, made in the forward, only need a factor for each image."""

    @staticmethod
    def forward(ctx, f1, f2, anchor1, anchor2, p, normalized, with_grad):
        with_grad = with_grad and any(ctx.needs_input_grad)
        f1, f2 = f1.detach(), f2.detach()  # torch.compile of PyTorch 2.4 records gradients here
        of_image = _streamed_l1 if p == 1 else _gram_l2
        values = f1.new_empty(len(f1))
        grads = [torch.empty_like(f) for f in (f1, f2)] if with_grad else []
        for n in range(len(f1)):
            values[n] = of_image(f1[n], f2[n], normalized, [grad[n] for grad in grads])
        ctx.save_for_backward(anchor1, anchor2, *grads)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        factor = upstream[:, None, None]
        grads = (
            grad * factor if needed else None
            for grad, needed in zip(ctx.saved_tensors[2:], ctx.needs_input_grad[:2], strict=True)
        )
        return (*grads, *[None] * 5)


def _streamed_l1(f1: Tensor, f2: Tensor, normalized: bool, grads: list[Tensor]) -> Tensor:
    """Mean of abs(D), D = S1 - S2, of (C, N) features; fills the gradients unless there are none.

    With A = [F1; F2] and J = diag(1, -1): D = A^T J A, and its sum has the gradient
    2 J A sign(D).
    """
    pixels = f1.shape[1]
    a = torch.cat([f1, f2])
    sign = a.new_ones(len(a), 1)
    sign[len(f1) :] = -1
    rows = min(CPU_BLOCK_ROWS if a.device.type == "cpu" else BLOCK_ROWS, pixels)
    buffer = a.new_empty(rows * pixels)
    total = torch.zeros((), dtype=torch.float64, device=a.device)
    a_e = torch.zeros_like(a) if grads else None
    for start in range(0, pixels, rows):
        stop = min(start + rows, pixels)
        block, right = a[:, start:stop], a[:, start:]
        size = stop - start
        d = buffer[: size * (pixels - start)].view(size, -1)
        torch.mm((block * sign).t(), right, out=d)
        if normalized:
            diagonal = d.diagonal()
            diagonal.masked_fill_(diagonal.abs() < DIAGONAL_ROUNDING, 0)
        # What lies right of the diagonal block stands for its mirror image, too.
        total += 2 * _abs_sum(d) - _abs_sum(d[:, :size])
        if grads:
            e = torch.sign(d, out=d)
            a_e[:, start:stop].addmm_(right, e.t())
            if stop < pixels:
                a_e[:, stop:].addmm_(block, e[:, size:])
    if grads:
        torch.mul(a_e[: len(f1)], 2 / pixels**2, out=grads[0])
        torch.mul(a_e[len(f1) :], -2 / pixels**2, out=grads[1])
    return total / pixels**2


def _abs_sum(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, 1, dim=1).double().sum()


def _gram_l2(f1: Tensor, f2: Tensor, _: bool, grads: list[Tensor]) -> Tensor:
    """Mean of D^2 of (C, N) features from G_ij = F_i F_j^T; fills the gradients.

    They are 4 (G_11 F1 - G_12 F2) and 4 (G_22 F2 - G_21 F1).
    """
    pixels = f1.shape[1]
    g11, g22, g12 = (
        torch.zeros(len(x), len(y), dtype=torch.float64, device=x.device)
        for x, y in ((f1, f1), (f2, f2), (f1, f2))
    )
    for x, y in zip(f1.split(CHUNK_PIXELS, 1), f2.split(CHUNK_PIXELS, 1), strict=True):
        x, y = x.double(), y.double()
        g11.addmm_(x, x.t())
        g22.addmm_(y, y.t())
        g12.addmm_(x, y.t())
    value = g11.square().sum() + g22.square().sum() - 2 * g12.square().sum()
    if grads:
        h11, h22, h12 = (g.mul(4 / pixels**2).to(f1.dtype) for g in (g11, g22, g12))
        torch.mm(h11, f1, out=grads[0]).addmm_(h12, f2, alpha=-1)
        torch.mm(h22, f2, out=grads[1]).addmm_(h12.t(), f1, alpha=-1)
    return value.clamp(min=0) / pixels**2
