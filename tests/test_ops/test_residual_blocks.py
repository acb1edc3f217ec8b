"""residual_blocks against one block after the other: values, gradients, statistics, memory."""

import importlib

import pytest
import torch
from mmseg.models.backbones.resnet import BasicBlock, Bottleneck
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from mmseg_papers.ops import (
    BlockDescription,
    residual_blocks,
    residual_blocks_reference,
    resnet_block,
)

from .layer_runs import (
    assert_close,
    assert_two_processes_share_statistics,
    run,
    values_kept,
)

LAYOUTS = [torch.contiguous_format, torch.channels_last]
BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}
#: Whose layers begin and end otherwise: linear behind the sum, and a ReLU before the first conv.
PATHS = {"linear": False, "pre-activated": True}
#: N, H, W
SIZES = [(2, 6, 7), (1, 1, 6), (3, 5, 1)]
CHANNELS = 8


def make_blocks(kind="bottleneck", norm="BN", dtype=torch.float64, downsamples=True):
    """Six blocks, the first and fourth of them with another shortcut than their input."""
    block = BLOCKS[kind]
    planes = CHANNELS // block.expansion

    def make(i):
        shortcut = None
        if downsamples and i in (0, 3):
            shortcut = nn.Sequential(
                nn.Conv2d(CHANNELS, CHANNELS, 1, stride=2 - i // 3, bias=False),
                (nn.SyncBatchNorm if norm == "SyncBN" else nn.BatchNorm2d)(CHANNELS),
            )
        stride = 1 if shortcut is None else 2 - i // 3
        options = dict(stride=stride, dilation=1 + i % 2, downsample=shortcut)
        return block(CHANNELS, planes, norm_cfg=dict(type=norm, momentum=0.3), **options)

    blocks = nn.ModuleList(map(make, range(6)))
    for tensor in (*blocks.parameters(), *blocks.buffers()):
        if tensor.dim() == 1:
            nn.init.uniform_(tensor, 0.5, 1.5)
    return blocks.to(dtype)


def test_torch_fx_sees_the_blocks():
    blocks = make_blocks()

    class Stage(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(blocks)

        def forward(self, x):
            return residual_blocks(x, self.blocks)

    graph = torch.fx.symbolic_trace(Stage()).graph
    assert sum(node.op == "call_module" for node in graph.nodes) > len(blocks)


class Path(nn.Module):
    """Conv - BN - ReLU6 - conv - BN - ReLU - conv - BN, the sixth with a last ReLU6."""

    def __init__(self, i, relu_first):
        super().__init__()
        self.relu_first, self.adds = relu_first, i % 2 == 0
        self.shortcut = None
        if i == 2:
            self.shortcut = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(CHANNELS))
        self.convs = nn.ModuleList(
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False, groups=groups)
            for groups in (1, CHANNELS, 1)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(CHANNELS) for _ in range(3))
        self.acts = nn.ModuleList([nn.ReLU6(), nn.ReLU(), nn.ReLU6() if i == 5 else nn.Identity()])

    def forward(self, x):
        y = x.relu() if self.relu_first else x
        for conv, norm, act in zip(self.convs[:2], self.norms[:2], self.acts[:2], strict=True):
            y = act(norm(conv(y)))
        y = self.norms[2](self.convs[2](y))
        if self.adds:
            y = y + (x if self.shortcut is None else self.shortcut(x))
        return self.acts[2](y)

    def description(self):
        acts = [None if isinstance(act, nn.Identity) else act for act in self.acts]
        layers = list(zip(self.convs, self.norms, acts, strict=True))
        shortcut = () if self.adds else None
        return BlockDescription(layers, tuple(self.shortcut or ()) or shortcut, self.relu_first)


def make_paths(kind):
    paths = nn.ModuleList(Path(i, PATHS[kind]) for i in range(6)).double()
    for tensor in (*paths.parameters(), *paths.buffers()):
        if tensor.dim() == 1:
            nn.init.uniform_(tensor, 1, 3)  # some values exceed 6
    return paths


def make_map(size=SIZES[0], dtype=torch.float64):
    n, height, width = size
    return torch.randn(n, CHANNELS, height, width, dtype=dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", BLOCKS)
def test_training(kind, size, layout, device):
    blocks = make_blocks(kind).to(device)
    x = make_map(size).to(device, memory_format=layout)
    ours = run(residual_blocks, blocks, x)
    plain = run(residual_blocks_reference, blocks, x)
    assert ours["5.bn2.num_batches_tracked"] == blocks[5].bn2.num_batches_tracked + 1
    assert_close(ours, plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", PATHS)
def test_training_of_other_paths(kind, layout, device):
    paths, x = make_paths(kind).to(device), make_map().to(device, memory_format=layout)
    ours = run(residual_blocks, paths, x, describe=Path.description)
    plain = run(residual_blocks_reference, paths, x)
    assert_close(ours, plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("frozen", ["bn1", "bn3", "all"])
def test_training_with_frozen_statistics(frozen):
    blocks = make_blocks()
    for name, module in blocks.named_modules():
        if isinstance(module, nn.BatchNorm2d) and (frozen == "all" or name.endswith(frozen)):
            module.eval()
    x = make_map()
    ours, plain = run(residual_blocks, blocks, x), run(residual_blocks_reference, blocks, x)
    assert_close(ours, plain, rtol=1e-9, atol=1e-11)


def test_momentum_none_averages_over_all_batches():
    blocks = make_blocks()
    for module in blocks.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    x = make_map()
    assert_close(run(residual_blocks, blocks, x), run(residual_blocks_reference, blocks, x))


@pytest.mark.parametrize("needs_input", [False, True])
def test_only_what_learns_gets_a_gradient(needs_input):
    blocks, x = make_blocks(), make_map().requires_grad_(needs_input)
    for name, parameter in blocks.named_parameters():
        parameter.requires_grad_("conv2" in name)
    found = []
    for function in (residual_blocks, residual_blocks_reference):
        blocks.zero_grad()
        x.grad = None
        function(x, blocks).square().sum().backward()
        found.append({n: p.grad for n, p in [("x", x), *blocks.named_parameters()]})
    ours, plain = found
    assert [n for n in ours if ours[n] is None] == [n for n in plain if plain[n] is None]
    assert_close(
        *({n: g for n, g in grads.items() if g is not None} for grads in found),
        rtol=1e-9,
        atol=1e-11,
    )


@pytest.mark.parametrize(
    ("kind", "plain", "ours"),
    [
        # One a conv and one a ReLU, each as wide as the block: 4 of each block's, 6 blocks.
        ("basic", 24 * CHANNELS, 12 * CHANNELS),
        # 2 + 2 a quarter as wide, 1 + 1 as wide.
        ("bottleneck", 6 * 3 * CHANNELS, 6 * 3 * CHANNELS // 2),
    ],
)
def test_keeps_the_convs_outputs_and_what_goes_into_every_fourth_block(kind, plain, ours):
    blocks = make_blocks(kind, downsamples=False)
    x = make_map((2, 64, 64)).requires_grad_()
    ends = 2 * CHANNELS  # the input of all and of the fifth
    assert values_kept(residual_blocks_reference, blocks, x) == plain + CHANNELS
    assert values_kept(residual_blocks, blocks, x) == ours + ends + CHANNELS  # the result


@pytest.mark.parametrize("kind", PATHS)
def test_keeps_no_result_that_is_linear(kind):
    paths, x = make_paths(kind)[3:5], make_map((2, 64, 64)).requires_grad_()
    kept = values_kept(residual_blocks, paths, x, describe=Path.description)
    assert kept == (2 * 3 + 1) * CHANNELS
    assert values_kept(residual_blocks_reference, paths, x) >= 2 * 5 * CHANNELS


@pytest.mark.parametrize("case", ["images", "a blank image", "one value each"])
def test_two_processes_share_the_statistics(case, tmp_path):
    x = make_map((2, 1, 1) if case == "one value each" else SIZES[0])
    if case == "a blank image":
        x[1] = 0
    blocks, sync = make_blocks(), make_blocks(norm="SyncBN")
    assert_two_processes_share_statistics(residual_blocks, blocks, sync, x, tmp_path / "store")


def test_the_shared_backward_pass_rounds_once(monkeypatch):
    """In half precision as PyTorch's, which subtracts the statistics' part before it rounds."""
    module = importlib.import_module("mmseg_papers.ops.residual_blocks")
    monkeypatch.setattr(module.dist, "all_reduce", lambda *_, **__: None)
    y = make_map((4, 16, 16)) + 5
    grad = y.square()  # most of it goes through the statistics
    weight = torch.rand(CHANNELS, dtype=torch.float64)
    errors = []
    for group in (None, object()):
        mean, variance, _ = module._shared_moments(y, group)
        layer = module._Layer((), 0.0, True, group, None)
        vectors = mean, variance.rsqrt(), weight
        exact, *_ = module._normalise_backward(grad, y, *vectors, layer)
        y16, vectors = y.bfloat16(), [v.float() for v in vectors]
        rounded, *_ = module._normalise_backward(grad.bfloat16(), y16, *vectors, layer)
        errors.append((rounded - exact).norm() / exact.norm())
    assert errors[1] < 1.1 * errors[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_autocast(layout):
    blocks = make_blocks(dtype=torch.float32)
    x = make_map((2, 16, 16), torch.float32).contiguous(memory_format=layout)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = run(residual_blocks, blocks, x)
        plain = run(residual_blocks_reference, blocks, x)
    assert ours["y"].dtype == torch.bfloat16
    assert {name: t.dtype for name, t in ours.items()} == {n: t.dtype for n, t in plain.items()}
    for name, value in plain.items():
        error = (ours[name] - value).float().norm() / value.float().norm()
        assert error < 0.02, name


CHANGES = {
    "norm": lambda block: setattr(block, "bn1", nn.InstanceNorm2d(2, affine=True).double()),
    "activation": lambda block: setattr(block, "relu", nn.LeakyReLU(0.1)),
    "bias": lambda block: setattr(block, "conv1", nn.Conv2d(CHANNELS, 2, 1).double()),
    "shortcut": lambda block: setattr(block, "downsample", nn.AvgPool2d(1)),
    "hook of a conv": lambda block: block.conv2.register_forward_hook(lambda m, i, y: 2 * y),
    "hook of the shortcut": lambda block: block.downsample.register_forward_hook(
        lambda m, i, y: 2 * y
    ),
    "own forward": lambda block: setattr(block, "forward", lambda x: 2 * x),
    "norm's own forward": lambda block: setattr(block.bn2, "forward", lambda x: 2 * x),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_blocks_take_their_own_way(change):
    blocks, x = make_blocks(), make_map()
    CHANGES[change](blocks[3])
    ours, plain = (
        function(x.clone().requires_grad_(), blocks)
        for function in (residual_blocks, residual_blocks_reference)
    )
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-11)


def test_a_wrapped_block_is_called():
    blocks, seen = make_blocks(), []

    def call(block, x):
        seen.append(1)
        return block(x)

    blocks[1] = checkpoint_wrapper(blocks[1], checkpoint_fn=call)
    residual_blocks(make_map().requires_grad_(), blocks).sum().backward()
    assert seen == [1]


def test_inference_is_the_plain_form():
    blocks, x = make_blocks().eval(), make_map()
    with torch.no_grad():
        assert torch.equal(residual_blocks(x, blocks), residual_blocks_reference(x, blocks))


def test_a_changed_result_is_noticed():
    blocks, x = make_blocks(), make_map().requires_grad_()
    y = residual_blocks(x, blocks)
    y += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_refuses_a_batch_without_a_variance():
    with pytest.raises(ValueError, match=r"more than one value a channel .* larger crop_size"):
        residual_blocks(make_map((1, 1, 1)), make_blocks())


def test_an_empty_batch_takes_the_plain_form():
    blocks, x = make_blocks().eval(), make_map((0, 4, 5))
    assert_close(run(residual_blocks, blocks, x), run(residual_blocks_reference, blocks, x))


def test_an_uncounted_norm():
    blocks, x = make_blocks(), make_map()
    for norm in (blocks[0].bn1, blocks[1].bn1):
        norm.num_batches_tracked = None
    blocks[1].bn1.momentum = None
    assert_close(run(residual_blocks, blocks, x), run(residual_blocks_reference, blocks, x))


@pytest.mark.torch_2_4
def test_compiles_to_the_plain_form():
    torch._dynamo.reset()
    blocks, x = make_blocks("basic"), make_map()
    compiled = torch.compile(residual_blocks, fullgraph=True, backend="aot_eager")
    assert_close(run(compiled, blocks, x), run(residual_blocks_reference, blocks, x))


@pytest.mark.triton_interpreter
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [*BLOCKS, *PATHS])
def test_training_with_the_kernel_in_the_interpreter(kind, layout, monkeypatch):
    if kind in PATHS:
        blocks, describe = make_paths(kind), Path.description
    else:
        blocks, describe = make_blocks(kind), resnet_block
        blocks[4].bn1.eval()
    x = make_map((2, 9, 7)).contiguous(memory_format=layout)
    plain = run(residual_blocks_reference, blocks, x)
    module = importlib.import_module("mmseg_papers.ops.residual_blocks")
    monkeypatch.setattr(module, "runs_triton", lambda x: True)
    ours = run(residual_blocks, blocks, x, describe=describe)
    assert_close(ours, plain, rtol=1e-9, atol=1e-11)


@pytest.mark.triton_interpreter
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(2, 3, 5, 7), (1, 70, 3, 20), (2, 5, 1, 1), (1, 1, 30, 40)])
def test_kernel_in_the_interpreter(size, layout, dtype):
    module = importlib.import_module("mmseg_papers.ops.residual_blocks")
    kernels = importlib.import_module("mmseg_papers.ops.residual_blocks_triton")
    y, added = (torch.randn(size).to(dtype).contiguous(memory_format=layout) for _ in range(2))
    y[0, 0, 0, 0] = torch.nan
    mean, bias = torch.randn(2, size[1])
    invstd, weight = torch.rand(2, size[1]) + 0.5
    for other, top in ((None, None), (None, torch.inf), (added, torch.inf), (added, 1.5)):
        arguments = y, mean, invstd, weight, bias, other, top
        out = torch.empty_like(y)
        kernels.normalise_triton(*arguments, out)
        tolerance = dict(rtol=0.02, atol=0.02) if dtype == torch.bfloat16 else {}
        torch.testing.assert_close(out, module._normalise(*arguments), equal_nan=True, **tolerance)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_cuda(layout, dtype, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    blocks = make_blocks(dtype=torch.float32).cuda()
    x = make_map((2, 33, 20), torch.float32).cuda().contiguous(memory_format=layout)
    with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
        ours, plain = run(residual_blocks, blocks, x), run(residual_blocks_reference, blocks, x)
    for name, value in plain.items():
        error = (ours[name] - value).float().norm() / value.float().norm().clamp(min=1e-12)
        assert error < (1e-4 if dtype == torch.float32 else 0.1), name
