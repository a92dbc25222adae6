"""Spreads the rows over two axes of the grid, and programs past the last row return early.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_rows, n_cols, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0) + tl.program_id(1) * tl.num_programs(0)
    if row >= n_rows:
        return
    row_start = row.to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)

    def grid(meta):
        wide = 1024 if meta["BLOCK_SIZE"] <= 1024 else 64
        return wide, triton.cdiv(rows, wide)

    block = triton.next_power_of_2(cols)
    softmax_kernel[grid](x, output, rows, cols, BLOCK_SIZE=block, num_warps=8)
    return output
