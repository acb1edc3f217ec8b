"""Training whose every iteration can be repeated from a checkpoint, to the last bit."""

from __future__ import annotations

import logging

import torch
from mmengine.dist import get_rank
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.registry import LOOPS
from torch import nn

from ..datasets.seeded import seed_generators


@LOOPS.register_module()
class SeededTrainLoop(IterBasedTrainLoop):
    """An iteration-based loop that resumes exactly where it was cut off.

    The random numbers of a sample depend on the seed and its position in the training alone, those
    of the model in an iteration on the seed, the iteration and the rank. So a resumed training sees
    what an uninterrupted one would, whatever the number of workers; on the CPU, or with
    deterministic CUDA operations, it ends with the same weights. MMEngine's own loop continues the
    order of the images, but not their augmentation, nor dropout.

    Args:
        runner (Runner): Of the training.
        dataloader (dict): As ``train_dataloader``.
        **options: As ``IterBasedTrainLoop``.

    Raises:
        TypeError: If ``dataloader`` is not a dict.
    """

    def __init__(self, runner: Runner, dataloader: dict, **options) -> None:
        if not isinstance(dataloader, dict):
            raise TypeError(
                f"SeededTrainLoop needs train_dataloader as a dict, got {type(dataloader).__name__}"
            )
        seeded = dict(
            dataloader,
            dataset=dict(type="SeededDataset", dataset=dataloader["dataset"]),
            sampler=dict(type="SeededSampler", sampler=dataloader["sampler"]),
        )
        super().__init__(runner, seeded, **options)
        # With a batch sampler of one's own, the loader's attribute is another one.
        self._sampler = self.dataloader.batch_sampler.sampler

    def run(self) -> nn.Module:
        """Train.

        Returns:
            nn.Module: The trained model.
        """
        sampler = self._sampler
        # Without a seed in the config, the runner takes over the checkpoint's when it resumes.
        resumed_seed = self.runner.seed
        if not self.runner._randomness_cfg.get("diff_rank_seed") and resumed_seed != sampler.seed:
            if self.dataloader_iterator._iterator is None:
                sampler.reseed(resumed_seed)
            else:  # the OpenMMLab line draws the first batches before it resumes
                print_log(
                    f"The images come in another order than before: set randomness.seed="
                    f"{resumed_seed} (that of the checkpoint) to resume exactly",
                    "current",
                    logging.WARNING,
                )
        return super().run()

    def run_iter(self, data_batch: dict) -> None:
        """Seed for the iteration, then train on a batch.

        Args:
            data_batch (dict): Images and labels.
        """
        seed_generators(self._sampler.seed, self._iter, 1 + get_rank())
        torch.manual_seed(torch.initial_seed())  # the devices' generators too
        super().run_iter(data_batch)
