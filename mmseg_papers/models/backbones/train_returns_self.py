"""``train()`` as PyTorch has it."""

from __future__ import annotations

from torch import nn


class TrainReturnsSelf(nn.Module):
    """Mixin for backbones of ``mmseg``, whose ``train()`` returns None."""

    def train(self, mode: bool = True) -> nn.Module:
        """Set the training mode, keeping frozen stages and (``norm_eval``) BN in evaluation mode.

        Args:
            mode (bool): Training (True) or evaluation (False). Default: True.

        Returns:
            nn.Module: The module itself, as ``nn.Module.train`` does.
        """
        super().train(mode)
        return self
