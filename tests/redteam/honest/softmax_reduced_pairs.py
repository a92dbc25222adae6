"""Maximum and sum in one reduction over pairs, by a combining function of its own.

operation: softmax
status: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def combine(max_a, sum_a, max_b, sum_b):
    largest = tl.maximum(max_a, max_b)
    # two parts of nothing but -inf, such as what is beyond the row
    shift = tl.where(largest == -float("inf"), 0.0, largest)
    return largest, sum_a * tl.exp(max_a - shift) + sum_b * tl.exp(max_b - shift)


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    ones = tl.where(x == -float("inf"), 0.0, 1.0)
    largest, total = tl.reduce((x, ones), 0, combine)
    tl.store(output_ptr + row_start + cols, tl.exp(x - largest) / total, mask=inside)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    softmax_kernel[(rows,)](x, output, cols, BLOCK_SIZE=block, num_warps=8)
    return output
