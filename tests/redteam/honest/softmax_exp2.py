"""Scales by log2(e) and takes exp2, as flash attention does; subtracts the maximum first.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    # scaling before the subtraction would overflow near float32's limit
    numerator = tl.exp2((x - tl.max(x, axis=0)) * LOG2_E)
    factor = 1.0 / tl.sum(numerator, axis=0)
    tl.store(output_ptr + row_start + cols, numerator * factor, mask=inside)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    softmax_kernel[(rows,)](x, output, cols, BLOCK_SIZE=block, num_warps=8)
    return output
