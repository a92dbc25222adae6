"""Registers the call with torch as an operator, as torch's manual tells one to for Triton kernels.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl
from torch.library import triton_op, wrap_triton


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


@triton_op("honest::softmax", mutates_args={})
def softmax_operator(x: torch.Tensor) -> torch.Tensor:
    output = torch.empty_like(x)
    block = triton.next_power_of_2(x.shape[1])
    wrap_triton(softmax_kernel)[(x.shape[0],)](x, output, x.shape[1], block, num_warps=8)
    return output


def softmax(x):
    return torch.ops.honest.softmax(x)
