"""DSRL's loss between the affinities of two branches."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...ops import feature_affinity

REDUCTIONS = ("mean", "sum")


@MODELS.register_module()
class FeatureAffinityLoss(nn.Module):
    """Difference of the pixel-to-pixel similarities of two feature maps (DSRL, section FA).

    1/N^2 sum_ij abs(S1_ij - S2_ij)^p with S_ij the product of the (unit) features of pixels i and
    j. The paper's q-norm is of a scalar, hence the absolute value for every q: ``p=1``. ``p=2`` is
    an extension, linear in N. See :func:`mmseg_papers.ops.feature_affinity`.

    Both maps are first averaged to one grid. The paper takes pairs "to 1/8"; read as a grid of an
    eighth of the network's input, that is cells of 16 pixels of the full-size image.

    Args:
        p (int): 1 or 2. Default: 1.
        normalize (bool): Whether features are made unit vectors, as the paper's authors say they
            do. Default: True.
        grid_stride (int): Full-size pixels in a row of a cell. Default: 16.
        reduction (str): Over the batch, ``'mean'`` or ``'sum'``. Default: ``'mean'``.
        loss_weight (float): w2 in the paper. Default: 1.

    Raises:
        ValueError: If an option is not as described.
    """

    def __init__(
        self,
        p: int = 1,
        normalize: bool = True,
        grid_stride: int = 16,
        reduction: str = "mean",
        loss_weight: float = 1.0,
    ) -> None:
        if p not in (1, 2):
            raise ValueError(f"p must be 1 or 2, got {p!r}")
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
        if not isinstance(grid_stride, int) or grid_stride < 1:
            raise ValueError(f"grid_stride must be an int >= 1, got {grid_stride!r}")
        super().__init__()
        self.p = p
        self.normalize = normalize
        self.grid_stride = grid_stride
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(
        self, feature1: Tensor, feature2: Tensor, size: Sequence[int] | None = None
    ) -> Tensor:
        """Compare.

        Args:
            feature1 (Tensor): (N, C1, h1, w1).
            feature2 (Tensor): (N, C2, h2, w2).
            size (Sequence[int], optional): Height and width of the full-size image. A map of this
                size loses the rows and columns beyond the last whole cell. Default: of
                ``feature1``.

        Returns:
            Tensor: The weighted loss, ().
        """
        size = tuple(feature1.shape[2:] if size is None else size)
        values = feature_affinity(
            *(self._to_grid(feature, size) for feature in (feature1, feature2)),
            p=self.p,
            normalize=self.normalize,
        )
        divisor = max(len(values), 1) if self.reduction == "mean" else 1
        return self.loss_weight * values.sum() / divisor

    def _to_grid(self, feature: Tensor, size: tuple[int, ...]) -> Tensor:
        grid = tuple(max(length // self.grid_stride, 1) for length in size)
        if tuple(feature.shape[2:]) == size and min(size) >= self.grid_stride:
            return F.avg_pool2d(feature, self.grid_stride)
        return F.adaptive_avg_pool2d(feature, grid)
