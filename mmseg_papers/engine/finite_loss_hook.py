"""Stopping when a training has failed, before its last good weights are overwritten."""

from __future__ import annotations

import math

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor

CURE = (
    "Lower optim_wrapper.optimizer.lr, set optim_wrapper.clip_grad=dict(max_norm=1.0), or look at "
    "these images and their labels; then train with --resume"
)


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop at the first loss that is not finite, and save no weights that are not.

    It reads the losses where MMEngine has already brought them to the CPU for the log, so no GPU
    waits for it. The weights are looked at only when a checkpoint is written.
    """

    priority = "HIGH"  # after RuntimeInfoHook, which stores the losses, and before a checkpoint

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict[str, Tensor] | None = None,
    ) -> None:
        """Check the loss.

        Args:
            runner (Runner): Of the training.
            batch_idx (int): Not used.
            data_batch (dict, optional): With the images' paths in ``data_samples``.
            outputs (dict[str, Tensor], optional): Those with ``loss`` in their names are looked
                at.

        Raises:
            FloatingPointError: If one is not finite; names it, the iteration and the images.
        """
        logged = runner.message_hub.log_scalars
        values = {n: logged[f"train/{n}"].current() for n in outputs or () if "loss" in n}
        wrong = [f"{n} is {v}" for n, v in values.items() if not math.isfinite(v)]
        if not wrong:
            return
        samples = (data_batch or {}).get("data_samples", ())
        images = ", ".join(sample.get("img_path", "?") for sample in samples) or "unknown"
        raise FloatingPointError(
            f"{', '.join(wrong)} in iteration {runner.iter + 1}, with the images {images}. The "
            f"last checkpoint is from before that. {CURE}"
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights; an infinite gradient shows in the loss an iteration later.

        Args:
            runner (Runner): Of the training.
            checkpoint (dict): To be written.

        Raises:
            FloatingPointError: If a weight or buffer is not finite.
        """
        weights = {k: v for k, v in checkpoint["state_dict"].items() if isinstance(v, Tensor)}
        wrong = [name for name, value in weights.items() if not torch.isfinite(value).all()]
        if wrong:
            raise FloatingPointError(
                f"{len(wrong)} weights are not finite after iteration {runner.iter + 1}, first "
                f"{wrong[0]}; they are not saved. The last checkpoint is from before that. {CURE}"
            )
