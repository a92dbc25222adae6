"""Hands the kernel a tuple of sizes, and a device function as a constexpr.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def stable(x):
    numerator = tl.exp(x - tl.max(x, axis=0))
    return numerator / tl.sum(numerator, axis=0)


@triton.jit
def rows_kernel(x_ptr, output_ptr, shape, FUNCTION: tl.constexpr, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * shape[1]
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < shape[1]
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    tl.store(output_ptr + row_start + cols, FUNCTION(x), mask=inside)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    rows_kernel[(rows,)](x, output, (rows, cols), stable, BLOCK_SIZE=block, num_warps=8)
    return output
