"""Tunes the number of warps, and keeps what it found on disk, where its other processes find it.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.autotune(
    [triton.Config({}, num_warps=warps) for warps in (4, 8, 16)],
    key=["n_cols"],
    cache_results=True,
)
@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    softmax_kernel[(rows,)](x, output, cols, BLOCK_SIZE=triton.next_power_of_2(cols))
    return output
