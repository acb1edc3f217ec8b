"""Which stages compute their blocks together, and that nothing else changes."""

import copy
import importlib
import pickle

import pytest
import torch
from mmseg.models.backbones import HRNet, MobileNetV2, ResNet, ResNetV1c
from mmseg.models.backbones.resnet import BasicBlock
from mmseg.models.utils import ResLayer

from mmseg_papers.models.backbones import (
    AtrousResNet,
    DilatedMobileNetV2,
    HighResolutionNet,
    PluginResNetV1c,
)
from mmseg_papers.models.layers import PlainResidualStage, ResidualStage, fuse_residual_stages

SMALL = dict(base_channels=8, stem_channels=8)
NETWORKS = {
    "ResNet-18": lambda: ResNet(18, **SMALL),
    "ResNetV1c-50": lambda: ResNetV1c(depth=50, **SMALL),
    "ResNet-50, average pool": lambda: ResNet(50, avg_down=True, **SMALL),
    "HRNet": lambda: HRNet(HighResolutionNet(arch="w18_small_v1").extra),
    "HighResolutionNet": lambda: HighResolutionNet(arch="w18_small_v1"),
    "AtrousResNet": lambda: AtrousResNet(50, style="tensorflow", output_stride=8, **SMALL),
    "MobileNetV2": lambda: MobileNetV2(0.25),
    "DilatedMobileNetV2": lambda: DilatedMobileNetV2(widen_factor=0.25),
    "MobileNetV2, with_cp": lambda: MobileNetV2(0.25, with_cp=True),
    "MobileNetV2, h-swish": lambda: MobileNetV2(0.25, act_cfg=dict(type="HSwish")),
    "frozen": lambda: AtrousResNet(50, frozen_stages=2, norm_eval=True, **SMALL),
    "with_cp": lambda: ResNet(50, with_cp=True, **SMALL),
    "plug-in layers": lambda: PluginResNetV1c(
        50,
        plugins=[dict(cfg=dict(type="StripPoolingModule"), position="after_conv2", blocks=(1,))],
        **SMALL,
    ),
}


def train(network, x):
    """Maps and gradients of a step, and what the buffers then hold."""
    network.train()
    maps = network(x)
    sum(y.square().mean() for y in maps).backward()
    grads = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    return {**dict(enumerate(maps)), **grads, **dict(network.named_buffers())}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step(name, monkeypatch):
    plain = NETWORKS[name]()
    plain.init_weights()
    for module in plain.modules():  # residual paths that start at zero have no gradients
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1)
    fused = copy.deepcopy(plain.double())
    fuse_residual_stages(fused)
    assert list(fused.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    runs = []
    module = importlib.import_module("mmseg_papers.ops.residual_blocks")
    together = module._train
    monkeypatch.setattr(
        module, "_train", lambda x, blocks: runs.append(len(blocks)) or together(x, blocks)
    )
    ours, theirs = train(fused, x), train(plain, x)
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-7, atol=1e-9, msg=str(key))
    kinds = ResidualStage, PlainResidualStage
    stages = [module for module in fused.modules() if isinstance(module, kinds)]
    own = {
        "with_cp": 16,
        "MobileNetV2, with_cp": 17,
        "MobileNetV2, h-swish": 17,
        "plug-in layers": 4,
        "ResNet-50, average pool": 4,  # their shortcuts are more than conv and norm
        "frozen": 7,  # nothing learns in the first two stages
        "AtrousResNet": 3,  # called one by one in the first stage, for what its last block adds
    }
    assert stages
    assert sum(runs) == sum(map(len, stages)) - own.get(name, 0)


def test_copies_and_pickles():
    network = ResNet(18, **SMALL)
    fuse_residual_stages(network)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert isinstance(other.layer1, ResidualStage)
        assert other.layer1[0].conv1 is not network.layer1[0].conv1
        x = torch.rand(2, 3, 64, 64)
        torch.testing.assert_close(other(x), network(x))


class _Stage(ResLayer):
    def train(self, mode=True):
        super().train(mode)
        self[0].eval()
        return self


def test_a_stage_of_ones_own_stays():
    network = torch.nn.ModuleList([_Stage(BasicBlock, 4, 4, 2), ResLayer(BasicBlock, 4, 4, 2)])
    fuse_residual_stages(network)
    assert [type(stage) for stage in network] == [_Stage, ResidualStage]
