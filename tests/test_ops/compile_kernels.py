"""Compile every Triton kernel for a GPU that need not be there; run by test_kernels_compile.py.

    python -m tests.test_ops.compile_kernels CAPABILITY SHARED_BYTES DTYPE LAYOUT

The operations' own calls say what is compiled: launches are caught and compiled instead. Prints a
line for each kernel and its pointers, and exits with 1 if one does not compile, needs more shared
memory than SHARED_BYTES or finds a block's place in memory by 32-bit products.
"""

from __future__ import annotations

import inspect
import re
import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from mmseg_papers.ops import affinity_loss_triton as affinity
from mmseg_papers.ops import context_prior_triton as prior
from mmseg_papers.ops import gate_rows_triton as gates
from mmseg_papers.ops import max_pool5x5_triton as pool
from mmseg_papers.ops import residual_blocks_triton as residual
from mmseg_papers.ops import strip_gate_triton as strip_gate
from mmseg_papers.ops import strip_means_triton as strips
from mmseg_papers.ops import upsample_add_triton as add
from mmseg_papers.ops import upsample_argmax_triton as argmax
from mmseg_papers.ops import upsample_cross_entropy_triton as cross_entropy
from mmseg_papers.ops.precision import accumulation_dtype

#: What takes a block to its place in memory; in 32 bits it overflows in an image of 2**31 values.
NARROW_PRODUCT = re.compile(r"arith\.muli .*: tensor<[\dx]+xi32>")
TYPES = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.uint8: "u8",
    torch.int32: "i32",
    torch.int64: "i64",
}


def catch_launches(capability: int, shared_bytes: int) -> dict[str, str]:
    """From now on a launch compiles its kernel; the dict fills with kernels and what was wrong."""
    found: dict[str, str] = {}
    target = GPUTarget("cuda", capability, 32)

    def compile_instead(self: JITFunction, *args, grid, warmup=False, **kwargs) -> None:
        names = inspect.signature(self.fn).parameters
        options = {k: v for k, v in kwargs.items() if k not in names}
        bound = inspect.signature(self.fn).bind(
            *args, **{k: v for k, v in kwargs.items() if k in names}
        )
        signature, constants = {}, {}
        for parameter in self.params:
            name = parameter.name
            value = bound.arguments[name]
            if parameter.is_constexpr or value is None:
                signature[name], constants[name] = "constexpr", value
            elif isinstance(value, torch.Tensor):
                signature[name] = f"*{TYPES[value.dtype]}"
            elif isinstance(value, float):
                signature[name] = "fp32"
            else:
                signature[name] = "i32" if abs(value) < 2**31 else "i64"
        pointers = sorted({t for t in signature.values() if t.startswith("*")})
        key = f"{self.fn.__module__.rpartition('.')[2]}.{self.fn.__name__} {' '.join(pointers)}"
        try:
            kernel = triton.compile(
                ASTSource(self, signature, constants), target=target, options=options
            )
        except Exception as error:
            found[key] = f"{type(error).__name__}: {error}"
            return
        shared = kernel.metadata.shared
        problem = f"{shared} bytes of shared memory" if shared > shared_bytes else ""
        if narrow := NARROW_PRODUCT.search(kernel.asm["ttir"]):
            problem = f"a product of indices in 32 bits: {narrow.group()}"
        found[key] = found.get(key) or problem

    JITFunction.run = compile_instead
    return found


def call_all(dtype: torch.dtype, layout: torch.memory_format) -> None:
    """Every kernel, with small maps of a number type and layout."""
    wide = accumulation_dtype(torch.empty(0, dtype=dtype))

    def maps(*size: int) -> torch.Tensor:
        return torch.empty(size, dtype=dtype).contiguous(memory_format=layout)

    logits, label = maps(2, 19, 16, 24), torch.zeros(2, 61, 95, dtype=torch.int64)
    weight, pixels = torch.ones(19, dtype=wide), torch.ones(2, 61, 95, dtype=wide)
    cross_entropy.cross_entropy_forward_triton(
        logits, label, weight, pixels, 255, 0.1, False, True, True
    )
    cross_entropy.cross_entropy_backward_triton(
        pixels, logits, label, pixels, weight, 255, 0.1, False
    )
    labels = torch.empty(2, 61, 95, dtype=torch.uint8)
    for confidence in (torch.empty(0, dtype=wide), torch.empty(2, 61, 95, dtype=wide)):
        argmax.upsample_argmax_triton(
            *(logits, (61, 95), False, (0, 0, 0, 0), (61, 95), None, labels, confidence)
        )
    x = maps(2, 40, 9, 30)
    add.upsample_add_triton([x, maps(2, 40, 5, 15)], "bilinear", False, True, x)
    add.resize_backward_triton(x, "bilinear", False, maps(2, 40, 5, 15))
    code = torch.empty_like(x, dtype=torch.uint8)
    pool.max_pool5x5_triton(x, torch.empty_like(x), code)
    pool.max_pool5x5_triton(x, torch.empty_like(x), None)
    pool.max_pool5x5_backward_triton(x, code, torch.empty_like(x))
    of_channels = [torch.ones(40, dtype=wide) for _ in range(4)]
    residual.normalise_triton(x, *of_channels, None, True, torch.empty_like(x))
    residual.normalise_triton(x, *of_channels, x, True, torch.empty_like(x))
    gate, mean = torch.empty(2, 40, 9, dtype=dtype), torch.empty(2, 40, 9, dtype=dtype)
    gates.gate_rows_triton(x, gate, torch.empty_like(x), mean)
    gates.gate_rows_backward_triton(x, gate, x, mean, torch.empty_like(x), gate)
    strips.row_and_column_sums_triton(x, wide)
    scores, of_positions = torch.empty(2, 100, 100, dtype=dtype), torch.zeros(2, 100).long()
    sums = torch.empty(4, 2, 100, dtype=wide)
    for options in ((True, False), (False, True)):  # clamped_bce, count_self
        affinity.add_affinity_sums_triton(sums, scores, of_positions, 0, 100.0, *options)
        affinity.affinity_sums_gradient_triton(
            sums, scores, of_positions, 0, 1e-12, *options, scores
        )
    if dtype == torch.float64:
        return  # computed by PyTorch
    value = maps(1, 512, 8, 8)
    per_key = torch.empty(64, dtype=wide)
    prior.context_prior_triton(
        value, torch.empty(64, 512, 1, 1, dtype=wide), per_key, per_key, torch.empty_like(value)
    )
    row, column = maps(2, 40, 9, 1), maps(2, 40, 1, 30)
    kernel, bias = torch.empty(40, 40, 1, 1, dtype=dtype), torch.empty(40, dtype=dtype)
    strip_gate.strip_gate_triton(x, row, column, kernel, bias, True)
    strip_gate.gate_backward_triton(x, x, x)


def main() -> int:
    """Run the command line."""
    capability, shared_bytes, dtype, layout = sys.argv[1:]
    found = catch_launches(int(capability), int(shared_bytes))
    call_all(getattr(torch, dtype), getattr(torch, layout))
    for kernel, problem in found.items():
        print(f"{kernel}: {problem or 'ok'}")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
