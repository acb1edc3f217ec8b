"""Cross entropy over a share of the hardest pixels."""

from __future__ import annotations

import numpy as np
from mmengine.logging import MessageHub
from mmseg.registry import MODELS
from torch import Tensor

from ...ops.precision import accumulation_dtype
from .pixel_mining_loss import PixelMiningLoss


@MODELS.register_module()
class HardPixelMiningLoss(PixelMiningLoss):
    """Hard pixel mining of DeepLab's authors (``top_k_percent_pixels`` in ``train_utils.py``).

    The sum of the largest pixel losses of a batch over how many of them are not zero. It is in no
    paper. Ignored pixels have a loss of zero and count in the share; the number of pixels, a
    float32 product as theirs, is rounded down.

    Args:
        share (float): Of all pixels, that are taken; in (0, 1].
        ramp_iters (int): Iterations over which the share falls from 1 to ``share``
            (``hard_example_mining_step``), as MMEngine's runner counts them. Default: 0, none.
        loss_weight (float): Factor of the whole loss. Default: 1.
        loss_name (str): Name in the log; begins with ``loss_``. Default: ``'loss_ce'``.

    Raises:
        ValueError: If ``share`` is outside (0, 1] or ``ramp_iters`` negative.
    """

    def __init__(
        self,
        share: float,
        loss_weight: float = 1.0,
        loss_name: str = "loss_ce",
        *,
        ramp_iters: int = 0,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share must be in (0, 1], got {share!r}")
        if ramp_iters < 0:
            raise ValueError(f"ramp_iters must be at least 0, got {ramp_iters}")
        super().__init__()
        self.share = share
        self.ramp_iters = ramp_iters
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def of_pixel_losses(self, pixel_loss: Tensor, label: Tensor, ignore_index: int) -> Tensor:
        """The loss from the cross entropy of every pixel.

        Args:
            pixel_loss (Tensor): (N, H, W), zero where the label is ``ignore_index``.
            label (Tensor): Class indices, (N, H, W).
            ignore_index (int): Label of pixels without a class.

        Returns:
            Tensor: ().
        """
        # In half precision the sum over the pixels of a batch would overflow.
        pixel_loss = pixel_loss.to(accumulation_dtype(pixel_loss))
        pixels, share = pixel_loss.numel(), np.float32(self.share)
        if self.ramp_iters:
            iteration = np.float32(MessageHub.get_current_instance().get_info("iter", 0))
            done = min(iteration / np.float32(self.ramp_iters), np.float32(1))
            share = done * share + (np.float32(1) - done)
        # As a float32, a number of pixels above 2^24 may be rounded up.
        hardest = pixel_loss.flatten().topk(min(int(share * np.float32(pixels)), pixels)).values
        return self.loss_weight * hardest.sum() / hardest.count_nonzero().clamp(min=1)
