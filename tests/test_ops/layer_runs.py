"""What layers in a row make, learn and keep, by an operation and by its plain form."""

import copy

import torch

from .two_processes import in_two_processes


def run(function, layers, x, **options):
    """Result and gradients, of the input first, and what the layers' buffers then hold."""
    layers, x = copy.deepcopy(layers), x.clone().requires_grad_()
    torch.manual_seed(1)
    y = function(x, layers, **options)
    torch.manual_seed(2)
    parameters = dict(layers.named_parameters())
    upstream = torch.randn(y.shape, dtype=y.dtype).to(y.device)
    grads = torch.autograd.grad(y, [x, *parameters.values()], upstream)
    return dict(
        y=y.detach(),
        **dict(zip(("x", *parameters), grads, strict=True)),
        **dict(layers.named_buffers()),
    )


def assert_close(ours, plain, **tolerance):
    assert ours.keys() == plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(
            ours[name], value, **tolerance, msg=lambda m, name=name: f"{name}: {m}"
        )


def values_kept(function, layers, x, **options):
    """Values a position that autograd keeps, the layers' own tensors apart."""
    own = {t.untyped_storage().data_ptr() for t in (*layers.parameters(), *layers.buffers())}
    kept = {}

    def pack(t):
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (t, storage.nbytes() // t.element_size())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = function(x, layers, **options)
    del y
    return sum(n for _, n in kept.values()) // x[:, 0].numel()


def _one_of_two(rank, function, layers, x, upstream):
    x = x[rank : rank + 1].requires_grad_()
    y = function(x, layers)
    parameters = list(layers.parameters())
    grads = torch.autograd.grad(y, [x, *parameters], upstream[rank : rank + 1])
    return [y.detach(), *grads, *layers.buffers()]


def assert_two_processes_share_statistics(function, layers, sync, x, store):
    """Together, ``SyncBatchNorm`` on one image each is what ``BatchNorm2d`` is on both."""
    sync.load_state_dict(layers.state_dict())
    whole = list(run(function, layers, x).values())
    torch.manual_seed(2)
    upstream = torch.randn(whole[0].shape, dtype=x.dtype)
    pairs = in_two_processes(_one_of_two, store, function, sync, x, upstream)
    count = 2 + len(list(layers.parameters()))
    for pair, expected in zip(pairs[:2], whole[:2], strict=True):  # result, gradient of the input
        torch.testing.assert_close(torch.cat(pair), expected, rtol=1e-9, atol=1e-11)
    for pair, expected in zip(pairs[2:count], whole[2:count], strict=True):  # DDP reduces them
        torch.testing.assert_close(sum(pair), expected, rtol=1e-9, atol=1e-11)
    for pair, expected in zip(pairs[count:], whole[count:], strict=True):
        for statistics in pair:
            torch.testing.assert_close(statistics, expected, rtol=1e-9, atol=1e-11)
