"""The layout is that of the config, and the training the same in both."""

import torch
from mmengine.runner import Runner

from ..families import config_of
from ..generated_data import shrink


def train(folder, hooks):
    config = shrink(config_of("hrnetv2"), folder, custom_hooks=hooks)
    runner = Runner.from_cfg(config)
    runner.train()
    return runner, torch.tensor(runner.message_hub.get_scalar("train/loss").data[0])


def test_trains_alike_in_both_layouts(tmp_path):
    plain, expected = train(tmp_path / "plain", [])
    runner, losses = train(tmp_path / "last", [dict(type="ChannelsLastHook")])
    weights = dict(runner.model.named_parameters())
    for name, parameter in plain.model.named_parameters():
        torch.testing.assert_close(weights[name], parameter, rtol=1e-3, atol=1e-4)
        if parameter.dim() == 4:
            assert weights[name].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    maps = []
    runner.model.backbone.layer1.register_forward_hook(lambda _m, _i, y: maps.append(y))
    runner.model(torch.rand(1, 3, 64, 64).to(next(runner.model.parameters()).device))
    assert maps[0].is_contiguous(memory_format=torch.channels_last)
