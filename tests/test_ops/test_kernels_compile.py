"""Every Triton kernel compiles for GPUs; the interpreter, which computes the values, does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Compute capability -> bytes of shared memory that a block can have.
GPUS = {80: 166912, 86: 101376, 90: 232448}


@pytest.mark.triton_interpreter
@pytest.mark.parametrize(
    ("capability", "dtype", "layout"),
    [
        (90, "bfloat16", "channels_last"),
        *(
            pytest.param(capability, dtype, layout, marks=pytest.mark.slow)
            for capability in GPUS
            for dtype in ("float32", "bfloat16", "float16", "float64")
            for layout in ("contiguous_format", "channels_last")
            if (capability, dtype, layout) != (90, "bfloat16", "channels_last")
        ),
    ],
)
def test_kernels_compile(capability, dtype, layout, tmp_path):
    environment = dict(os.environ, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    arguments = [capability, GPUS[capability], dtype, layout]
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_ops.compile_kernels", *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # In float64 PyTorch computes what three kernels do.
    assert done.stdout.count(": ok") >= (14 if dtype == "float64" else 17)
