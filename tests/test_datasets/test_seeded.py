"""What a sample is depends on the seed and its position, whoever loads it and whenever."""

import copy
import random
import time
from itertools import islice
from pickle import dumps, loads

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader, Dataset, Sampler

from mmseg_papers.datasets import SeededDataset, SeededSampler
from mmseg_papers.datasets.seeded import seed_generators


class Draws(Dataset):
    """Each sample is its index and a number from each generator."""

    metainfo = dict(classes=("one",))

    def __init__(self, length=10):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(()).item()


def loader(skipped=0, num_workers=0, **sampler):
    dataset = SeededDataset(Draws())
    seeded = SeededSampler(dataset, sampler or dict(type="InfiniteSampler"), seed=3)
    seeded.skip(skipped)
    return DataLoader(dataset, batch_size=2, sampler=seeded, num_workers=num_workers)


def take(batches, number):
    return [torch.stack([t.double() for t in batch]) for batch in islice(batches, number)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_begins_anywhere(num_workers):
    whole = take(loader(), 12)
    rest = take(loader(skipped=14, num_workers=num_workers), 5)
    assert all(torch.equal(a, b) for a, b in zip(whole[7:], rest, strict=True))
    draws = torch.cat(whole, 1)[1:]
    assert draws.unique().numel() == draws.numel(), "each sample has its own random numbers"


@pytest.mark.parametrize("sampler", [InfiniteSampler, DefaultSampler])
def test_order_is_that_of_the_sampler(sampler):
    own = loader(type=sampler.__name__, shuffle=True)
    indices = torch.cat(take(own, 5), 1)[0]
    assert indices.tolist() == list(islice(sampler(Draws(), shuffle=True, seed=3), 10))


def test_sampler_that_ends_goes_on():
    epochs = torch.cat(take(loader(type="DefaultSampler", shuffle=True), 15), 1)[0]
    epochs = epochs.reshape(3, 10)
    assert (epochs.sort(1).values == torch.arange(10)).all()
    assert not torch.equal(epochs[0], epochs[1])


def test_sampler_without_epochs():
    class Backwards(Sampler):
        def __init__(self, dataset, seed):
            self.dataset = dataset

        def __iter__(self):
            return iter(range(len(self.dataset) - 1, -1, -1))

    indices = torch.cat(take(loader(type=Backwards), 10), 1)[0]
    assert indices.tolist() == 2 * [*range(9, -1, -1)]


def test_processes_share_the_samples(monkeypatch):
    alone = torch.cat(take(loader(), 6), 1)
    of_rank = []
    for rank in (0, 1):
        for module in ("mmseg_papers.datasets.seeded", "mmengine.dataset.sampler"):
            monkeypatch.setattr(f"{module}.get_dist_info", lambda rank=rank: (rank, 2))
        of_rank.append(torch.cat(take(loader(), 3), 1))
    assert torch.equal(torch.stack(of_rank, -1).flatten(1), alone)


def test_another_seed():
    dataset = SeededDataset(Draws())
    sampler = SeededSampler(dataset, dict(type="InfiniteSampler"), seed=3)
    sampler.reseed(4)
    expected = SeededSampler(dataset, dict(type="InfiniteSampler"), seed=4)
    assert list(islice(sampler, 30)) == list(islice(expected, 30))


def test_index_alone_seeds_nothing():
    dataset = SeededDataset(Draws())
    assert dataset[3] != dataset[3]
    assert dataset[5, 0, 3] == dataset[5, 0, 3]
    assert dataset[5, 0, 3] != dataset[5, 1, 3] != dataset[6, 1, 3]
    assert (len(dataset), dataset.metainfo) == (10, Draws.metainfo)


@pytest.mark.parametrize("copied", [lambda x: x, copy.deepcopy, lambda x: loads(dumps(x))])
def test_other_attributes_are_the_data_sets(copied):
    dataset = copied(SeededDataset(Draws(7)))
    assert isinstance(dataset, SeededDataset)
    assert dataset.length == 7
    assert not hasattr(dataset, "lenght")


def test_keys_give_unrelated_numbers():
    seen = set()
    for key in [(0, 1), (1, 0), (0, 1, 1), (0, 2, 1), (0, 1, 2), (2**31 - 1, 10**7)]:
        seed_generators(*key)
        seen |= {random.random(), float(np.random.rand()), torch.rand(()).item()}
    assert len(seen) == 18


def test_refuses_another_data_set():
    with pytest.raises(TypeError, match="samples a SeededDataset, got Draws"):
        SeededSampler(Draws(), dict(type="InfiniteSampler"))


def test_skips_a_long_training_at_once():
    """100,000 iterations of 8 images."""
    sampler = SeededSampler(SeededDataset(Draws(20000)), dict(type="InfiniteSampler"), seed=0)
    sampler.skip(800_000)
    start = time.process_time()
    _, position, _ = next(iter(sampler))
    assert position == 800_000
    assert time.process_time() - start < 10
