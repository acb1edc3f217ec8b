"""Tools that hook layers, as pruning does to make their weights, meet every layer of a model."""

import torch
from torch import nn
from torch.nn.utils import prune

from mmseg_papers.apis.configs import packaged_configs

from .families import FAMILIES, build, config_of, every_family, training_batch
from .test_configs import OPTIONS


def loss_of(model, inputs, samples):
    torch.manual_seed(1)  # dropout
    return model.parse_losses(model(inputs, samples, mode="loss"))[0]


@every_family
def test_every_family(family):
    folder = packaged_configs()[FAMILIES[family][0]].parent.name
    config = config_of(family, **OPTIONS.get(folder, {}))
    batch = training_batch(config)
    expected = loss_of(build(config).train(), *batch)
    model = build(config).train()
    layers = dict(model.named_modules())
    convs = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Conv2d)}
    norms = {n: m for n, m in layers.items() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    seen = set()
    for name, norm in norms.items():
        norm.register_forward_hook(lambda *_, name=name: seen.add(name))
    for conv in convs.values():
        prune.identity(conv, "weight")
    loss = loss_of(model, *batch)
    loss.backward()
    loss_of(model, *batch).backward()  # the first has freed its graph
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    assert seen == {*norms}
    assert [n for n, c in convs.items() if c.weight_orig.grad is None] == []
