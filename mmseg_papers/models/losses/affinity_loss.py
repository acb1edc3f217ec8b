"""CPNet's affinity loss."""

from __future__ import annotations

import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...ops import affinity_sums, affinity_terms


def label_of_positions(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Class of each position of a context prior.

    Args:
        label (Tensor): Class indices, (B, 1, H, W), int64. Ignored pixels stay a class of their
            own, so that positions without a class count as alike.
        size (tuple[int, int]): Height and width of the prior's grid.

    Returns:
        Tensor: The nearest pixel's, (B, height * width), int64.
    """
    return F.interpolate(label.float(), size, mode="nearest").flatten(1).long()


@MODELS.register_module()
class AffinityLoss(nn.Module):
    """Supervises a context prior with the classes of every two positions.

    The unary term judges each pair alone; the global terms judge the recall, specificity and
    precision of each position's row (arXiv:2004.01547). What is computed, and
    where paper and code differ, is told by :func:`mmseg_papers.ops.affinity_loss`.

    The value is noisy by design: with ``empty_rows='clamp'`` a position without a companion adds
    200 / (B N) and an image of a single class 100 / B, without any gradient.

    Args:
        unary_weight (float): The paper's lambda_u. Default: 1.
        global_weight (float): The paper's lambda_g. Default: 1.
        empty_rows (str): ``'clamp'``, the authors' value, or ``'skip'``, a value without those
            constants; the gradient is the same. Default: 'clamp'.
        clamped_bce (bool): Compute logarithms from probabilities, as the authors, instead of from
            logits, which works in mixed precision and keeps the gradient of wrong logits beyond
            about 17. Default: False.
        loss_weight (float): Factor of the whole loss. Default: 1.
        loss_name (str): Name in the log; begins with ``loss_``. Default: 'loss_prior'.
        count_self (bool): Whether a position is its own companion in recall and precision, as in
            the paper's equations, instead of in the denominator of precision only, as in the
            authors' code. Default: False.

    Raises:
        ValueError: If ``empty_rows`` is neither ``'clamp'`` nor ``'skip'``.
    """

    def __init__(
        self,
        unary_weight: float = 1.0,
        global_weight: float = 1.0,
        empty_rows: str = "clamp",
        clamped_bce: bool = False,
        loss_weight: float = 1.0,
        loss_name: str = "loss_prior",
        count_self: bool = False,
    ) -> None:
        super().__init__()
        if empty_rows not in ("clamp", "skip"):
            raise ValueError(f"empty_rows must be 'clamp' or 'skip', got {empty_rows!r}")
        self.unary_weight = unary_weight
        self.global_weight = global_weight
        self.empty_rows = empty_rows
        self.clamped_bce = clamped_bce
        self.count_self = count_self
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Loss of a prior.

        Args:
            logits (Tensor): The prior before its sigmoid, (B, N, h, w) with N = h * w; channels
                are keys, places queries.
            label (Tensor): Class of each position, (B, N), ignored pixels included.

        Returns:
            Tensor: ().
        """
        sums = affinity_sums(logits, label, self.clamped_bce, self.count_self)
        return self.from_sums(sums, label)

    def from_sums(self, sums: Tensor, label: Tensor) -> Tensor:
        """Loss of a prior that was never held as a whole.

        Args:
            sums (Tensor): As :func:`mmseg_papers.ops.affinity_sums` gives them, (4, B, N).
            label (Tensor): (B, N).

        Returns:
            Tensor: ().
        """
        terms = affinity_terms(sums, label, self.empty_rows, self.clamped_bce, self.count_self)
        loss = self.unary_weight * terms[0] + self.global_weight * terms[1:].sum()
        return self.loss_weight * loss
