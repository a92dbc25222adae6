"""Programs draw rows from an atomic counter: who takes a row differs, the row's bits do not.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def reset_kernel(next_row_ptr):
    tl.store(next_row_ptr, 0)


@triton.jit
def softmax_kernel(x_ptr, output_ptr, next_row_ptr, n_rows, n_cols, BLOCK_SIZE: tl.constexpr):
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    row = tl.atomic_add(next_row_ptr, 1)
    while row < n_rows:
        row_start = row.to(tl.int64) * n_cols
        x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
        numerator = tl.exp(x - tl.max(x, axis=0))
        tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)
        row = tl.atomic_add(next_row_ptr, 1)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    next_row = torch.empty(1, dtype=torch.int32, device=x.device)
    reset_kernel[(1,)](next_row)
    softmax_kernel[(min(rows, 264),)](
        x, output, next_row, rows, cols, BLOCK_SIZE=triton.next_power_of_2(cols), num_warps=8
    )
    return output
