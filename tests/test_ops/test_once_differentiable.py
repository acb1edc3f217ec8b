"""Second derivatives are refused, whatever the second derivative is taken of."""

from functools import partial

import pytest
import torch
from mmseg.models.backbones.resnet import BasicBlock
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmseg_papers import ops

LABEL = torch.tensor([[0, 0, 1, 2, 1, 0]])
PIXEL_LABEL = torch.arange(35).reshape(1, 5, 7) % 3


class _DenseLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(3), nn.BatchNorm2d(4)
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 3, padding=1)
        self.dropout = nn.Dropout2d(0)


def _prior(result):
    return lambda *tensors: ops.context_prior_and_sums(*tensors, LABEL)[result]


PRIOR_SHAPES = (1, 3, 2, 3), (6, 3, 1, 1), (6,), (6,)
#: Operations that are not linear, and the shapes of their inputs.
OPERATIONS = {
    "cross entropy": (
        lambda x: ops.upsample_cross_entropy(x, PIXEL_LABEL)[0],
        [(1, 3, 3, 4)],
    ),
    "cross entropies": (
        lambda x: ops.upsample_cross_entropy(x, PIXEL_LABEL, reduction="none")[0],
        [(1, 3, 3, 4)],
    ),
    "feature affinity": (ops.feature_affinity, [(1, 3, 2, 3), (1, 2, 2, 3)]),
    "squared feature affinity": (
        lambda x, y: ops.feature_affinity(x, y, p=2, normalize=False),
        [(1, 3, 2, 3), (1, 2, 2, 3)],
    ),
    "context": (_prior(0), PRIOR_SHAPES),
    "context's sums": (_prior(1), PRIOR_SHAPES),
    "affinity loss": (lambda x: ops.affinity_loss(x, LABEL), [(1, 6, 2, 3)]),
    "gate rows": (ops.gate_rows, [(1, 3, 2, 3), (1, 3, 2)]),
    "strip gate": (
        ops.strip_gate,
        [(1, 3, 2, 4), (1, 2, 2, 1), (1, 2, 1, 4), (3, 2, 1, 1), (3,)],
    ),
    "upsample add": (
        lambda x, y: ops.upsample_add([x, y], relu=True),
        [(1, 3, 6, 7), (1, 3, 3, 4)],
    ),
    "norm relu conv1x1": (
        lambda x: ops.norm_relu_conv1x1(x, nn.BatchNorm2d(3).double(), nn.Conv2d(3, 2, 1).double()),
        [(1, 3, 4, 4)],
    ),
    "dense block": (
        lambda x: ops.dense_block(x, [_DenseLayer().double()]),
        [(1, 3, 4, 4)],
    ),
    "residual blocks": (
        lambda x: ops.residual_blocks(x, [BasicBlock(3, 3).double()]),
        [(1, 3, 4, 4)],
    ),
}


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_second_derivative_is_refused(name, power):
    operation, shapes = OPERATIONS[name]
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    result = operation(*inputs).pow(power).sum()
    grads = torch.autograd.grad(result, inputs, create_graph=True)
    penalty = sum(g.square().sum() for g in grads)
    with pytest.raises(RuntimeError, match=r"once_differentiable|no autograd formula"):
        torch.autograd.grad(penalty, inputs, allow_unused=True)


@pytest.mark.parametrize("name", OPERATIONS)
def test_first_derivative_with_a_graph_in_checkpointing(name):
    """Checkpointing without re-entry lets a backward pass read its saved tensors once."""
    operation, shapes = OPERATIONS[name]
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]

    def gradients(run, create_graph):
        torch.manual_seed(0)  # two operations make their weights
        return torch.autograd.grad(run(*inputs).sum(), inputs, create_graph=create_graph)

    expected = gradients(operation, create_graph=False)
    got = gradients(partial(checkpoint, operation, use_reentrant=False), create_graph=True)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)
