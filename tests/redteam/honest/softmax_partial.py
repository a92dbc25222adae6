"""The entry point is a functools.partial of a function that takes more.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import functools

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


def softmax_with(x, num_warps):
    output = torch.empty_like(x)
    block = triton.next_power_of_2(x.shape[1])
    softmax_kernel[(x.shape[0],)](x, output, x.shape[1], BLOCK_SIZE=block, num_warps=num_warps)
    return output


softmax = functools.partial(softmax_with, num_warps=8)
