"""Every family trains in half precision, and its losses are computed in float32."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from mmseg_papers.apis.configs import packaged_configs

from .families import FAMILIES, build, config_of, every_family, training_batch
from .test_configs import OPTIONS, load, without_pretrained


class RoundedProducts(TorchDispatchMode):
    """Computes half-precision convolutions and products in float32 and rounds the results.

    Accelerators add up in float32, too; CPUs without half-precision instructions are several times
    slower than this.
    """

    aten = torch.ops.aten
    products = (aten.convolution, aten.convolution_backward, aten.mm, aten.addmm, aten.bmm)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        dtypes = {x.dtype for x in args if isinstance(x, Tensor)}
        halves = dtypes & {torch.float16, torch.bfloat16}
        if function.overloadpacket not in self.products or not halves:
            return function(*args, **kwargs)
        (half,) = halves
        args = [x.float() if isinstance(x, Tensor) else x for x in args]
        target = kwargs.pop("out", None)
        if target is not None:
            return target.copy_(function(*args, **kwargs, out=torch.empty_like(target).float()))
        out = function(*args, **kwargs)
        return tree_map(lambda x: x.to(half) if isinstance(x, Tensor) else x, out)


def check(config, dtype):
    model = build(config).train()
    inputs, samples = training_batch(config)
    with torch.autocast("cpu", dtype):
        losses = model(inputs, samples, mode="loss")
    for name, value in losses.items():
        for loss in value if isinstance(value, list) else [value]:
            assert loss.dtype == torch.float32, name
            assert torch.isfinite(loss).all(), name
    total, _ = model.parse_losses(losses)
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@every_family
def test_every_family(family, dtype):
    folder = packaged_configs()[FAMILIES[family][0]].parent.name
    check(config_of(family, **OPTIONS.get(folder, {})), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", packaged_configs())
def test_every_config(name, dtype):
    config = load(name)
    config.merge_from_dict(OPTIONS.get(packaged_configs()[name].parent.name, {}))
    config.model = without_pretrained(config.model)
    with RoundedProducts():
        check(config, dtype)
