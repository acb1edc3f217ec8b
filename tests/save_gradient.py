"""A hook that a training in other processes imports to let a test compare its gradient."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn


@HOOKS.register_module()
class SaveGradient(Hook):
    """Train without dropout and batch statistics, and save the gradient that the optimizer gets.

    Args:
        file (str): Where to.
    """

    def __init__(self, file: str) -> None:
        self.file = file

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for module in model.modules():
            if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)):
                module.eval()

        def save(*_):
            torch.save(
                {n: p.grad for n, p in model.named_parameters() if p.requires_grad}, self.file
            )

        if runner.rank == 0:
            runner.optim_wrapper.optimizer.register_step_pre_hook(save)
