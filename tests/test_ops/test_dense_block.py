"""dense_block against one concatenation a layer: values, gradients, statistics, memory."""

import importlib
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmseg_papers.models.layers import DenseLayer
from mmseg_papers.ops import dense_block, dense_block_reference

from .layer_runs import (
    assert_close,
    assert_two_processes_share_statistics,
    run,
    values_kept,
)

LAYOUTS = [torch.contiguous_format, torch.channels_last]
#: As DenseNet's backbones and as DenseASPP's pyramid use it: options of the layers, of the block.
USES = {
    "backbone": (dict(dilation=1), {}),
    "pyramid": (dict(dilation=2, bias=True), dict(newest_first=True, relu=True)),
}
#: N, C, H, W
SIZES = [(2, 3, 6, 7), (1, 3, 1, 6), (3, 3, 5, 1), (1, 3, 40, 5)]
BOTTLENECK, GROWTH = 16, 2


def module():
    return importlib.import_module("mmseg_papers.ops.dense_block")


def make_layers(use="backbone", norm="BN", dropout_ratio=0.0, dtype=torch.float64):
    """Three layers with norms as after some training."""
    options, _ = USES[use]
    layers = nn.ModuleList(
        DenseLayer(
            3 + i * GROWTH,
            BOTTLENECK,
            GROWTH,
            pre_norm=use == "backbone" or i > 0,
            dropout_ratio=dropout_ratio,
            norm_cfg=dict(type=norm, momentum=0.3),
            **options,
        )
        for i in range(3)
    )
    for tensor in (*layers.parameters(), *layers.buffers()):
        if tensor.dim() == 1:
            nn.init.uniform_(tensor, 0.5, 1.5)
    return layers.to(dtype)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("use", USES)
def test_training(use, size, layout, recompute, device):
    layers, options = make_layers(use).to(device), USES[use][1]
    x = torch.randn(size, dtype=torch.float64).to(device, memory_format=layout)
    ours = run(dense_block, layers, x, recompute=recompute, **options)
    plain = run(dense_block_reference, layers, x, **options)
    assert ours["0.norm2.num_batches_tracked"] == layers[0].norm2.num_batches_tracked + 1
    # A bias before a norm that uses the batch has no gradient but what rounding leaves.
    assert_close(ours, plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("frozen", ["norm1", "norm2", "both"])
@pytest.mark.parametrize("use", USES)
def test_training_with_frozen_statistics(use, frozen):
    layers, options = make_layers(use), USES[use][1]
    for layer in layers:
        for name in ("norm1", "norm2"):
            if frozen in (name, "both") and getattr(layer, name) is not None:
                getattr(layer, name).eval()
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    ours = run(dense_block, layers, x, **options)
    assert_close(ours, run(dense_block_reference, layers, x, **options), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("use", USES)
def test_inference(use, size, layout, device):
    layers, options = make_layers(use).eval().to(device), USES[use][1]
    x = torch.randn(size, dtype=torch.float64).to(device, memory_format=layout)
    before = x.clone()
    with torch.no_grad():
        ours = dense_block(x, layers, **options)
        torch.testing.assert_close(ours, dense_block_reference(x, layers, **options))
    assert torch.equal(x, before)
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_inference_in_several_bands():
    """The rows beside a band, which its 3x3 convs read, are those of the map, not zeros."""
    bands = list(module()._bands(40, 2, 4.0))
    assert bands == [(slice(0, 32), slice(0, 34)), (slice(32, 40), slice(30, 40))]


def test_order_of_the_channels():
    layers = make_layers("pyramid").eval()
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        old_first, newest_first = (
            dense_block(x, layers[:1], newest_first=newest, relu=True) for newest in (False, True)
        )
        y = layers[0](F.relu(x))
    torch.testing.assert_close(old_first, torch.cat([F.relu(x), y], dim=1))
    torch.testing.assert_close(newest_first, torch.cat([y, F.relu(x)], dim=1))


def test_recomputing_changes_no_bit():
    """``torch.utils.checkpoint`` around a batch norm would update its statistics twice."""
    layers = make_layers("pyramid", dropout_ratio=0.4, dtype=torch.float32)
    x = torch.randn(2, 3, 9, 8)
    kept, recomputed = (
        run(dense_block, layers, x, recompute=r, **USES["pyramid"][1]) for r in (False, True)
    )
    assert all(torch.equal(kept[name], recomputed[name]) for name in kept)


def test_dropout_of_whole_channels():
    layers, options = make_layers("pyramid", dropout_ratio=0.5), USES["pyramid"][1]
    x = torch.randn(4, 3, 6, 7, dtype=torch.float64)
    ours, plain = (run(f, layers, x, **options) for f in (dense_block, dense_block_reference))
    assert_close(ours, plain, rtol=1e-9, atol=1e-11)
    made = ours["y"][:, : 3 * GROWTH]
    dropped = (made == 0).all(dim=(2, 3))
    assert 0 < dropped.sum() < dropped.numel()
    assert torch.equal(dropped, (made == 0).any(dim=3).any(dim=2))


def test_keeps_the_result_and_the_output_of_each_first_conv():
    layers = make_layers().train()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    result, hidden = 3 + 3 * GROWTH, 3 * BOTTLENECK
    assert values_kept(dense_block, layers, x, recompute=True) == result
    assert values_kept(dense_block, layers, x) == result + hidden
    # Beside the two: every layer's input and its norm's output, and the second norm's.
    assert values_kept(dense_block_reference, layers, x) > 2 * (result + hidden)


def test_two_processes_share_the_statistics(tmp_path):
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    assert_two_processes_share_statistics(
        partial(dense_block, **USES["pyramid"][1]),
        make_layers("pyramid"),
        make_layers("pyramid", norm="SyncBN"),
        x,
        tmp_path / "store",
    )


def test_autocast():
    layers = make_layers(dtype=torch.float32)
    x = torch.randn(2, 3, 6, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = run(dense_block, layers, x)
    plain = run(dense_block_reference, layers, x)
    assert ours["y"].dtype == torch.bfloat16
    assert ours["0.conv1.weight"].dtype == ours["0.norm1.running_var"].dtype == torch.float32
    torch.testing.assert_close(ours["y"].float(), plain["y"], rtol=0.05, atol=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        half = dense_block(x, layers.eval())
    torch.testing.assert_close(half.float(), dense_block_reference(x, layers), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("size", [(0, 3, 4, 5), (2, 3, 4, 5)])
def test_other_norms_and_empty_batches_take_the_plain_form(size):
    norm_cfg = dict(type="IN", affine=True)
    layers = nn.ModuleList([DenseLayer(3, 4, 2, norm_cfg=norm_cfg if size[0] else None)])
    x = torch.randn(size)
    ours, plain = run(dense_block, layers.eval(), x), run(dense_block_reference, layers.eval(), x)
    assert_close(ours, plain, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("conv1", nn.Conv2d(3 + GROWTH, BOTTLENECK, 3, padding=1)),
        ("conv2", nn.Conv2d(BOTTLENECK, GROWTH, 3, padding=1, padding_mode="circular")),
        ("conv2", nn.Conv2d(BOTTLENECK, GROWTH, 3, padding=(1, 2), dilation=(1, 2))),
        ("conv2", nn.Conv2d(BOTTLENECK, GROWTH, 5, padding=2)),
        ("dropout", nn.Dropout(0.5)),
        ("dropout", nn.Identity()),
    ],
)
def test_other_layers_take_the_plain_form(part, other):
    layers = make_layers()
    setattr(layers[1], part, other.double())
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    ours, plain = (run(f, layers, x) for f in (dense_block, dense_block_reference))
    assert_close(ours, plain, rtol=0, atol=0)


@pytest.mark.parametrize("part", ["", "norm1", "conv1", "norm2", "conv2", "dropout"])
def test_hooks_take_the_plain_form(part):
    layers, seen = make_layers(), []
    layers[1].get_submodule(part).register_forward_hook(lambda *_: seen.append(part))
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    dense_block(x, layers)
    with torch.no_grad():
        dense_block(x, layers.eval())
    assert seen == [part, part]


def test_refuses_a_batch_without_a_variance():
    with pytest.raises(ValueError, match=r"more than one value a channel .* larger crop_size"):
        dense_block(torch.rand(1, 3, 1, 1, dtype=torch.float64), make_layers())


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.rand(3, 4, 4), r"\(N, C, H, W\), got torch\.float32 \(3, 4, 4\)"),
        (torch.ones(1, 3, 4, 4, dtype=torch.int64), r"floating point .* got torch\.int64"),
        (torch.rand(1, 4, 4, 4), "layer 0 of the block finds 4 channels and its conv1 reads 3"),
    ],
)
def test_refusals(x, message):
    with pytest.raises(ValueError, match=message):
        dense_block(x, make_layers())


@pytest.mark.torch_2_4
def test_compiles_to_the_plain_form():
    torch._dynamo.reset()
    layers = make_layers("pyramid")
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    compiled = torch.compile(dense_block, fullgraph=True, backend="aot_eager")
    ours = run(compiled, layers, x, **USES["pyramid"][1])
    assert_close(ours, run(dense_block_reference, layers, x, **USES["pyramid"][1]))


@pytest.mark.torch_2_7
def test_an_exported_program_holds_stock_operators_only():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = make_layers()

        def forward(self, x):
            return dense_block(x, self.layers)

    x = torch.randn(1, 3, 6, 7, dtype=torch.float64)
    program = torch.export.export(Block().eval(), (x,))
    targets = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert targets
    assert all(t.startswith("aten.") for t in targets)
    program.module()(x)
