"""Parameters and multiply-adds of HANet's published models, with the r of each row."""

from importlib import import_module

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmseg_papers.apis.configs import packaged_configs
from mmseg_papers.ops import conv_of_constant_concat_reference

#: Config -> parameters (M), multiply-adds (G) at 1 x 3 x 1024 x 2048; baseline, then HANet. Counted
#: from the authors' code, which equals the paper's table 2.
COUNTS = {
    "shufflenetv2-os32_1xb8": ((12.64, 14.95), (64.34, 64.39)),
    "shufflenetv2-os16_1xb8": ((12.64, 13.72), (117.09, 117.14)),
    "mobilenetv2-os16_1xb8": ((14.84, 16.07), (142.74, 142.80)),
    "mobilenetv2-os8_1xb8": ((14.84, 15.44), (428.70, 428.81)),
    "r50-os16_2xb4": ((45.08, 47.61), (553.74, 553.85)),
    "r50-os8_2xb4": ((45.08, 46.31), (1460.56, 1460.76)),
    "r101-os16_2xb4": ((64.20, 65.43), (765.53, 765.62)),
    "r101-os8_2xb4": ((64.20, 64.80), (2137.82, 2138.01)),
    "resnext101-os8-coarse_6xb2": ((108.32, 108.92), (3557.30, 3557.49)),
}
#: The authors' auxiliary conv has a bias, which ours has folded into its BN.
AUXILIARY_BIAS = 512


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name, monkeypatch):
    (file,) = [f for n, f in packaged_configs().items() if n.startswith(f"hanet_{name}-")]
    config = Config.fromfile(file)
    places = config.model.height_attention.places
    for row, kept in enumerate(([], places)):
        config.model.height_attention.places = kept
        with torch.device("meta"):
            model = revert_sync_batchnorm(MODELS.build(config.model)).eval()
        tables = sum(b.numel() for n, b in model.named_buffers() if n.endswith("position_table"))
        count = sum(p.numel() for p in model.parameters()) + tables + AUXILIARY_BIAS
        assert round(count / 1e6, 2) == COUNTS[name][0][row]
        billions = multiply_adds(model, monkeypatch) / 1e9
        assert billions == pytest.approx(COUNTS[name][1][row], abs=0.011)


def multiply_adds(model, monkeypatch):
    """Of the plain formulas: convolutions, and an addition for each value that is pooled."""
    pyramid = import_module("mmseg_papers.models.layers.aspp")
    layers = import_module("mmseg_papers.models.layers.height_attention")
    segmentor = import_module("mmseg_papers.models.segmentors.height_attention")
    pooled = []
    gate_rows, pool_rows = segmentor.gate_rows, layers.pool_rows

    def counting_gate(x, gate, with_mean=False):
        if with_mean:  # the image-level branch counts as the map it is expanded to
            pooled.append(gate.numel() * widths[gate.shape[2]])
        return gate_rows(x, gate, with_mean)

    def counting_pool(x, *args):
        pooled.append(x.numel())
        return pool_rows(x, *args)

    widths = {1024 // s: 2048 // s for s in (4, 8, 16, 32)}
    for module in model.modules():
        if isinstance(module, nn.AdaptiveAvgPool2d):
            module.register_forward_pre_hook(lambda _, args: pooled.append(args[0].numel()))
    with monkeypatch.context() as patch, torch.device("meta"), torch.no_grad():
        patch.setattr(pyramid, "conv_of_constant_concat", conv_of_constant_concat_reference)
        patch.setattr(segmentor, "gate_rows", counting_gate)
        patch.setattr(layers, "pool_rows", counting_pool)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 1024, 2048))
    convolutions = counter.get_flop_counts()["Global"][torch.ops.aten.convolution] / 2
    return convolutions + sum(pooled)
