"""A persistent kernel that asks for its next row before it works on the one it holds.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def load_row(x_ptr, row, n_rows, n_cols, cols):
    inside = (row < n_rows) & (cols < n_cols)
    return tl.load(x_ptr + row * n_cols + cols, mask=inside, other=-float("inf")).to(tl.float32)


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_rows, n_cols, BLOCK_SIZE: tl.constexpr):
    cols = tl.arange(0, BLOCK_SIZE)
    row = tl.program_id(0).to(tl.int64)
    x = load_row(x_ptr, row, n_rows, n_cols, cols)
    while row < n_rows:
        next_row = row + tl.num_programs(0)
        next_x = load_row(x_ptr, next_row, n_rows, n_cols, cols)
        numerator = tl.exp(x - tl.max(x, axis=0))
        result = numerator / tl.sum(numerator, axis=0)
        tl.store(output_ptr + row * n_cols + cols, result, mask=cols < n_cols)
        row, x = next_row, next_x


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    softmax_kernel[(min(rows, 528),)](x, output, rows, cols, BLOCK_SIZE=block, num_warps=8)
    return output
