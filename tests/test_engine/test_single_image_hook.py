"""Every family trains on one image, or says before training which layers cannot."""

import re

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, DataLoader

from mmseg_papers.apis.configs import packaged_configs
from mmseg_papers.datasets import ClassUniformSampler
from mmseg_papers.engine.single_image_hook import norms_of_one_value, single_image_cure

from ..generated_data import shrink
from ..short_training import FAMILIES
from ..test_configs import OPTIONS, without_pretrained


def runner_of(folder, path, **options):
    config = shrink(
        Config.fromfile(packaged_configs()[FAMILIES[folder]]), path, **OPTIONS.get(folder, {})
    )
    config.model = without_pretrained(config.model)
    config.merge_from_dict(options)
    return Runner.from_cfg(config)


@pytest.mark.parametrize("folder", FAMILIES)
def test_finds_what_fails(folder, tmp_path):
    runner = runner_of(folder, tmp_path)
    loader = runner.build_dataloader(runner.cfg.train_dataloader, seed=0)
    names = norms_of_one_value(runner.model, loader)
    data = runner.model.data_preprocessor(loader.collate_fn([loader.dataset[0]]), True)
    if names:
        with pytest.raises(ValueError, match=r"(more than 1|one) value (per|a) channel"):
            runner.model(**data, mode="loss")
    else:
        losses = runner.model(**data, mode="loss")
        assert all(torch.isfinite(loss).all() for loss in losses.values())


def test_refuses_before_training(tmp_path):
    runner = runner_of("deeplabv3plus", tmp_path, **{"train_dataloader.batch_size": 1})
    with pytest.raises(ValueError, match=r"image_pool.*batch_size to at least 2.*norm_cfg"):
        runner.train()
    counts = [v for k, v in runner.model.state_dict().items() if "num_batches" in k]
    assert counts
    assert not any(counts)


@pytest.mark.parametrize(
    ("length", "options", "cure"),
    [
        (5, dict(batch_size=1), "batch_size to at least 2"),
        (5, dict(batch_size=4), "5 images .* leave a last one .*drop_last=True"),
        (5, dict(batch_size=4, drop_last=True), None),
        (6, dict(batch_size=4), None),
        (5, dict(batch_sampler=BatchSampler(range(5), 4, drop_last=False)), None),
    ],
)
def test_single_image_cure(length, options, cure):
    got = single_image_cure(DataLoader(range(length), **options))
    assert (got is None) == (cure is None)
    assert cure is None or re.search(cure, got)


def test_endless_samplers_leave_no_last_batch(monkeypatch):
    monkeypatch.setattr(ClassUniformSampler, "__init__", lambda self, dataset: None)
    monkeypatch.setattr(ClassUniformSampler, "__len__", lambda self: 5)
    sampler = ClassUniformSampler(range(5))
    assert single_image_cure(DataLoader(range(5), batch_size=4, sampler=sampler)) is None
