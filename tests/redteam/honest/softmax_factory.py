"""A function makes the kernel, and the entry point is one function of several that another makes.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


def make_kernel():
    @triton.jit
    def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
        row_start = tl.program_id(0).to(tl.int64) * n_cols
        cols = tl.arange(0, BLOCK_SIZE)
        inside = cols < n_cols
        x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
        numerator = tl.exp(x - tl.max(x, axis=0))
        tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)

    return softmax_kernel


def make_softmax(num_warps):
    kernel = make_kernel()

    def launch(x):
        output = torch.empty_like(x)
        block = triton.next_power_of_2(x.shape[1])
        kernel[(x.shape[0],)](x, output, x.shape[1], BLOCK_SIZE=block, num_warps=num_warps)
        return output

    return launch


softmax = make_softmax(num_warps=8)
