"""A function makes a kernel for each block size, which is a variable of its closure.

operation: softmax
status: CORRECT
"""

import functools

import torch
import triton
import triton.language as tl


@functools.cache
def make_kernel(block_size):
    block = tl.constexpr(block_size)

    @triton.jit
    def softmax_kernel(x_ptr, output_ptr, n_cols):
        row_start = tl.program_id(0).to(tl.int64) * n_cols
        cols = tl.arange(0, block)
        inside = cols < n_cols
        x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
        numerator = tl.exp(x - tl.max(x, axis=0))
        tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)

    return softmax_kernel


def softmax(x):
    output = torch.empty_like(x)
    kernel = make_kernel(triton.next_power_of_2(x.shape[1]))
    kernel[(x.shape[0],)](x, output, x.shape[1], num_warps=8)
    return output
