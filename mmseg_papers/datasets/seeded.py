"""Samples whose randomness depends on their place in the training, and on nothing before it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import Dataset, Sampler, Subset


def seed_generators(*key: int) -> None:
    """Seed the generators that transforms draw from: Python's, NumPy's and PyTorch's for the CPU.

    Args:
        *key (int): Non-negative integers below 2**32; other keys give unrelated random numbers, but
            zeros at the end do not count.
    """
    state = np.random.SeedSequence(key).generate_state(4)
    random.seed(state.tobytes())
    np.random.seed(state)
    # Those of devices, which torch.manual_seed also seeds, cost six times all of this.
    torch.default_generator.manual_seed(int.from_bytes(state[:2].tobytes(), "little"))


@DATASETS.register_module()
class SeededDataset(Dataset):
    """Another data set, whose transforms draw from generators seeded for each sample.

    It takes what :class:`SeededSampler` yields, or an index alone, which seeds nothing. Its other
    attributes and methods are the data set's.

    Args:
        dataset (dict | BaseSegDataset): The data set.
    """

    def __init__(self, dataset: dict | BaseSegDataset) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    def __getattr__(self, name: str) -> Any:
        # A copy that is being made has no data set yet, and copies itself, not the data set.
        if name == "dataset" or name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: int | tuple[int, int, int]) -> Any:
        if isinstance(item, tuple):
            seed, position, item = item
            seed_generators(seed, position)
        return self.dataset[item]


@DATA_SAMPLERS.register_module()
class SeededSampler(Sampler):
    """The indices of another sampler, without end, each with the seed and its position.

    The positions count over all processes, so a sample's randomness does not depend on how many
    there are. A sampler that ends goes on with its next epoch.

    Args:
        dataset (SeededDataset): What is sampled, or MMEngine's slice of it
            (``num_batch_per_epoch``), whose first samples are drawn then.
        sampler (dict): The other sampler, of the data set inside.
        seed (int, optional): Of both. Default: one that all processes agree on.

    Raises:
        TypeError: If ``dataset`` is another one.
    """

    def __init__(self, dataset: SeededDataset, sampler: dict, seed: int | None = None) -> None:
        whole = getattr(dataset, "_dataset", dataset)  # MMEngine's slice holds it there
        if not isinstance(whole, SeededDataset):
            raise TypeError(f"SeededSampler samples a SeededDataset, got {type(whole).__name__}")
        inner = whole.dataset
        if whole is not dataset:
            inner = Subset(inner, range(len(dataset)))
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.sampler = DATA_SAMPLERS.build(
            sampler, default_args=dict(dataset=inner, seed=self.seed)
        )
        self.skipped = 0

    def reseed(self, seed: int) -> None:
        """Take another seed, before the first index is drawn.

        Args:
            seed (int): Of the samples and of the other sampler.
        """
        self.seed = self.sampler.seed = seed

    def skip(self, num_samples: int) -> None:
        """Begin later, as MMEngine's loop on the OneDL line asks when it resumes.

        Args:
            num_samples (int): How many samples of this process to leave out.
        """
        self.skipped = num_samples

    def _indices(self) -> Iterator[int]:
        for epoch in count():
            if hasattr(self.sampler, "set_epoch"):  # PyTorch's samplers have none
                self.sampler.set_epoch(epoch)
            yield from self.sampler

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        positions = count(self.rank, self.world_size)
        drawn = zip(positions, self._indices(), strict=False)
        for position, index in islice(drawn, self.skipped, None):
            yield self.seed, position, index

    def __len__(self) -> int:
        return len(self.sampler)
