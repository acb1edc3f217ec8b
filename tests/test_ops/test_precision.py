"""What is added up in float32 is so within ``torch.autocast``, too."""

import subprocess
import sys

import pytest
import torch

from mmseg_papers import ops

PRIOR_SHAPES = [(1, 3, 2, 3), (6, 3, 1, 1), (6,), (6,)]
LABEL = torch.tensor([[0, 0, 1, 2, 1, 0]])
#: Operations that are no convolutions, and the shapes of their inputs.
OPERATIONS = {
    "affinity loss": (lambda x: ops.affinity_loss(x, LABEL), [(1, 6, 2, 3)]),
    "bin rows": (lambda x: ops.bin_rows(x, 2), [(1, 3, 5)]),
    "context prior": (
        lambda *tensors: ops.context_prior(*(t.detach() for t in tensors)),
        PRIOR_SHAPES,
    ),
    "context prior and sums": (
        lambda *tensors: ops.context_prior_and_sums(*tensors, LABEL)[0],
        PRIOR_SHAPES,
    ),
    "feature affinity": (ops.feature_affinity, [(1, 3, 4, 5), (1, 2, 4, 5)]),
    "gate rows": (ops.gate_rows, [(1, 3, 4, 5), (1, 3, 4)]),
    "gate rows in channels_last": (
        lambda x, gate: ops.gate_rows(x.contiguous(memory_format=torch.channels_last), gate),
        [(1, 3, 4, 5), (1, 3, 4)],
    ),
    "resize bicubic": (lambda x: ops.resize_bicubic(x, (9, 11)), [(1, 3, 5, 6)]),
    "upsample add": (lambda *xs: ops.upsample_add(xs), [(1, 3, 8, 9), (1, 3, 4, 5)]),
    "upsample cross entropy": (
        lambda x: ops.upsample_cross_entropy(x, torch.arange(35).reshape(1, 5, 7) % 3)[0],
        [(1, 3, 3, 4)],
    ),
}
#: PyTorch's own backward passes of products obey autocast where they run; one has none.
WITHOUT_BACKWARD = {"bin rows", "context prior", "resize bicubic"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_float32_stays_float32_under_autocast(name):
    operation, shapes = OPERATIONS[name]
    inputs = [torch.randn(s, requires_grad=True) for s in shapes]
    upstream = torch.randn(operation(*inputs).shape)

    def run(is_on):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_on):
            result = operation(*inputs)
            if name in WITHOUT_BACKWARD:
                return [result]
            return [result, *torch.autograd.grad(result, inputs, upstream)]

    for ours, expected in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


def test_bicubic_without_a_device():
    assert ops.resize_bicubic(torch.empty(1, 3, 5, 6, device="meta"), (9, 11)).shape[2:] == (9, 11)


READS = """
import torch
from mmseg_papers.ops.precision import convolutions_use_tf32, products_use_tf32
torch.backends.cudnn.rnn.fp32_precision = "ieee"  # reading allow_tf32 is an error from here on
for precision in ("ieee", "tf32"):
    torch.backends.cudnn.conv.fp32_precision = precision
    torch.backends.cuda.matmul.fp32_precision = precision
    print(convolutions_use_tf32(), products_use_tf32())
"""


@pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "conv"), reason="this PyTorch has the older switches only"
)
def test_switches_of_tf32_are_read_beside_unlike_others():
    """In a process of its own, as PyTorch itself fails with unlike switches."""
    command = [sys.executable, "-c", READS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "False False\nTrue True\n", done.stderr[-2000:]
