"""A training that has failed stops, says where, and leaves its last good checkpoint."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from mmseg_papers.engine import FiniteLossHook

from ..short_training import short_config

WITHOUT_VALIDATION = {
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader": None,
    "val_cfg": None,
    "val_evaluator": None,
}


@HOOKS.register_module()
class Spoil(Hook):
    """Set a weight before or after an iteration."""

    def __init__(self, value, before=None, after=None):
        self.value = value
        self.before, self.after = before, after

    def _spoil(self, runner):
        with torch.no_grad():
            runner.model.decode_head.conv_seg.bias[3] = self.value

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.before:
            self._spoil(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.after:
            self._spoil(runner)


def train(tmp_path, **spoil):
    config = short_config(tmp_path, **WITHOUT_VALIDATION)
    config.custom_hooks.append(dict(type="Spoil", **spoil))
    Runner.from_cfg(config).train()


def assert_last_checkpoint(folder, iteration):
    assert [f.name for f in folder.glob("*.pth")] == [f"iter_{iteration}.pth"]
    state = torch.load(folder / f"iter_{iteration}.pth")["state_dict"]
    assert all(np.isfinite(value).all() for value in state.values())


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_stops_at_the_first_loss(tmp_path, value):
    with pytest.raises(FloatingPointError) as error:
        train(tmp_path, value=value, before=4)
    text = str(error.value)
    number = "(nan|inf)"
    assert re.match(
        rf"loss is {number}, decode\.loss_ce is {number} in iteration 4, with the ", text
    )
    assert text.count(f"{tmp_path}/train0/leftImg8bit/train/") == 2
    assert "optim_wrapper.clip_grad" in text
    assert_last_checkpoint(Path(tmp_path, "work"), 2)


def test_losses_of_a_train_step_of_its_own():
    """One of several optimizers has no sum of all losses."""
    hook, hub = FiniteLossHook(), MessageHub("own losses")
    runner = SimpleNamespace(message_hub=hub, iter=6)
    batch = dict(data_samples=[dict(img_path="a.png")])
    hook.after_train_iter(runner, 0, batch, None)
    for value in (1.0, float("nan")):
        outputs = dict(loss_g=torch.tensor(value), acc=torch.tensor(float("nan")))
        for name, output in outputs.items():
            hub.update_scalar(f"train/{name}", output)  # as RuntimeInfoHook
        if value == 1:
            hook.after_train_iter(runner, 0, batch, outputs)
    for data, images in ((batch, "a.png"), (dict(inputs=[1]), "unknown")):
        message = rf"^loss_g is nan in iteration 7, with the images {images}\."
        with pytest.raises(FloatingPointError, match=message):
            hook.after_train_iter(runner, 0, data, outputs)


def test_state_that_is_no_tensor():
    state = {"weight": torch.ones(2), "_extra_state": dict(version=3)}
    FiniteLossHook().before_save_checkpoint(None, dict(state_dict=state))


def test_saves_no_weights_that_are_not_finite(tmp_path):
    with pytest.raises(FloatingPointError, match=r"1 weights .* iteration 4, first decode_head"):
        train(tmp_path, value=float("inf"), after=4)
    assert_last_checkpoint(Path(tmp_path, "work"), 2)
