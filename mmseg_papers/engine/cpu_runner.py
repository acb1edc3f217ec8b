"""Training in several processes without a GPU."""

from __future__ import annotations

import torch
from mmengine.dist import is_distributed
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner
from mmseg.registry import RUNNERS
from torch import distributed, nn


@RUNNERS.register_module()
class CPURunner(Runner):
    """MMEngine's runner, whose ``--launcher pytorch`` otherwise needs a GPU for each process.

    The processes talk through gloo. ``SyncBN``, which PyTorch has on GPUs only, becomes a batch
    norm of each process's own images. ``configs/_base_/cpu_distributed.py`` makes a config use it.
    """

    def setup_env(self, env_cfg: dict) -> None:
        """Join the other processes, then as MMEngine.

        Args:
            env_cfg (dict): As in the config.

        Raises:
            RuntimeError: If PyTorch sees a GPU.
        """
        if torch.cuda.is_available():
            raise RuntimeError(
                "CPURunner (configs/_base_/cpu_distributed.py) trains without GPUs, but there is "
                "one: hide it with CUDA_VISIBLE_DEVICES=-1, or take another runner_type"
            )
        if self.distributed and not is_distributed():
            distributed.init_process_group("gloo")
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes.

        Args:
            model_wrapper_cfg (dict, optional): As in the config.
            model (nn.Module): A segmentor.

        Returns:
            nn.Module: Wrapped, or as it was if there is one process.
        """
        return super().wrap_model(model_wrapper_cfg, revert_sync_batchnorm(model))
