"""Training and evaluating with a pixel's channels side by side in memory."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Put a model's weights into PyTorch's ``channels_last`` layout, which its maps then follow.

    A convolution takes the layout of its weight, so images need no change. Half-precision
    convolutions on a GPU with tensor cores are the usual gain; checkpoints do not depend on it.
    ``custom_hooks=[dict(type='ChannelsLastHook')]`` is all that a config needs.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        """Change the weights in place, so that the optimiser keeps them.

        They are initialised by then: random numbers fill a weight in the order of its memory.

        Args:
            runner (Runner): Of a training, validation or test.
        """
        runner.model.to(memory_format=torch.channels_last)

    before_val = before_test = before_train
