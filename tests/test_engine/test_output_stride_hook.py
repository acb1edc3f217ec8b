"""The output stride of the evaluation holds there only, and a wrong one stops the run at once."""

from __future__ import annotations

import pytest
import torch
from mmengine.runner import Runner

from mmseg_papers.engine import OutputStrideHook

from ..families import config_of
from ..generated_data import shrink


def runner_with(folder, family, output_stride):
    hooks = [dict(type="OutputStrideHook", output_stride=output_stride)]
    return Runner.from_cfg(shrink(config_of(family), folder, custom_hooks=hooks))


def test_validates_and_tests_at_another_stride(tmp_path):
    runner = runner_with(tmp_path, "deeplabv3plus", 8)
    sides = {True: set(), False: set()}

    def record(backbone, images, maps):
        sides[backbone.training].add(images[0].shape[-1] / maps[-1].shape[-1])

    runner.model.backbone.register_forward_hook(record)
    runner.train()
    assert sides == {True: {16}, False: {8}}
    weights = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.test()
    assert sides == {True: {16}, False: {8}}
    assert runner.model.backbone.output_stride == 16
    torch.testing.assert_close(runner.model.state_dict(), weights, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("family", "output_stride", "message"),
    [
        ("hrnetv2", 8, "has no output stride to set; use model.type='AtrousEncoderDecoder'"),
        ("deeplabv3plus", 7, "7"),
    ],
)
def test_refuses_before_training(tmp_path, family, output_stride, message):
    runner = runner_with(tmp_path, family, output_stride)
    hook = next(hook for hook in runner.hooks if isinstance(hook, OutputStrideHook))
    with pytest.raises(ValueError, match=message):
        hook.before_run(runner)
