"""Inputs of several devices, which a kernel would read at wrong addresses."""

import pytest
import torch

from mmseg_papers import ops

MAP, LABEL = torch.zeros(1, 2, 2, 3), torch.zeros(1, 6, dtype=torch.int64)
ROW, COLUMN = torch.zeros(1, 2, 2, 1), torch.zeros(1, 2, 1, 3)
KERNEL, OF_KEYS = torch.zeros(6, 2, 1, 1), torch.zeros(6)


@pytest.mark.parametrize(
    ("operation", "inputs"),
    [
        (ops.affinity_loss, (torch.zeros(1, 6, 6), LABEL)),
        (ops.context_prior, (MAP, KERNEL, OF_KEYS, OF_KEYS)),
        (ops.context_prior_and_sums, (MAP, KERNEL, OF_KEYS, OF_KEYS, LABEL)),
        (ops.gate_rows, (MAP, torch.zeros(1, 2, 2))),
        (ops.strip_gate, (MAP, ROW, COLUMN, torch.zeros(2, 2, 1, 1), torch.zeros(2))),
        (lambda *xs: ops.upsample_add(xs), (MAP, MAP)),
        (ops.upsample_cross_entropy, (MAP, LABEL.view(1, 2, 3))),
    ],
)
def test_inputs_must_be_on_one_device(operation, inputs):
    for i in range(1, len(inputs)):
        others = [x.to("meta") if i == k else x for k, x in enumerate(inputs)]
        with pytest.raises(ValueError, match=r"is on meta, but .* on cpu; move it with .*'cpu'"):
            operation(*others)
