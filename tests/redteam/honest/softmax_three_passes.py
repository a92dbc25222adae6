"""Three launches: each row's maximum, then its sum, then the quotients.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def max_kernel(x_ptr, max_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK_SIZE)
    x = tl.load(x_ptr + row * n_cols + cols, mask=cols < n_cols, other=-float("inf"))
    tl.store(max_ptr + row, tl.max(x.to(tl.float32), axis=0))


@triton.jit
def sum_kernel(x_ptr, max_ptr, sum_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK_SIZE)
    x = tl.load(x_ptr + row * n_cols + cols, mask=cols < n_cols, other=-float("inf"))
    tl.store(sum_ptr + row, tl.sum(tl.exp(x.to(tl.float32) - tl.load(max_ptr + row)), axis=0))


@triton.jit
def divide_kernel(x_ptr, max_ptr, sum_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK_SIZE)
    x = tl.load(x_ptr + row * n_cols + cols, mask=cols < n_cols).to(tl.float32)
    result = tl.exp(x - tl.load(max_ptr + row)) / tl.load(sum_ptr + row)
    tl.store(output_ptr + row * n_cols + cols, result, mask=cols < n_cols)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    largest, total = torch.empty(2, rows, dtype=torch.float32, device=x.device)
    meta = {"BLOCK_SIZE": triton.next_power_of_2(cols), "num_warps": 8}
    max_kernel[(rows,)](x, largest, cols, **meta)
    sum_kernel[(rows,)](x, largest, total, cols, **meta)
    divide_kernel[(rows,)](x, largest, total, output, cols, **meta)
    return output
