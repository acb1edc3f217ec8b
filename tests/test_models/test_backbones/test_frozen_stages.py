"""Stages that do not train, in every backbone that has the option."""

import pytest
from mmseg.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

import mmseg_papers.models.backbones  # noqa: F401


@pytest.mark.parametrize(
    ("config", "stages"),
    [
        (dict(type="AtrousResNet", depth=18), 1),
        (dict(type="AtrousResNet", depth=18, num_blocks=5), 5),
        (dict(type="DilatedDenseNet", arch="121"), 1),
        (dict(type="DilatedMobileNetV2"), 1),
        (dict(type="FullMobileNetV2"), 1),
        (dict(type="HighResolutionNet", arch="w18_small_v1"), 1),
        (dict(type="LightWeightMobileNetV2"), 1),
        (dict(type="PluginResNetV1c", depth=18), 1),
    ],
)
def test_frozen_before_training_and_in_it(config, stages):
    """Distributed training asks for the parameters with gradients before it calls ``train``."""
    net = MODELS.build(dict(config, norm_cfg=dict(type="BN"), frozen_stages=stages))
    before = {name for name, p in net.named_parameters() if not p.requires_grad}
    net.train()
    assert before
    assert before == {name for name, p in net.named_parameters() if not p.requires_grad}
    for name, module in net.named_modules():
        if isinstance(module, _BatchNorm):
            assert module.training != (f"{name}.weight" in before), name
