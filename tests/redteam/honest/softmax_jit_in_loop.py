"""Makes all of its kernels by one call of triton.jit in a comprehension.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


def max_kernel(x_ptr, max_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK_SIZE)
    x = tl.load(x_ptr + row * n_cols + cols, mask=cols < n_cols, other=-float("inf"))
    tl.store(max_ptr + row, tl.max(x.to(tl.float32), axis=0))


def divide_kernel(x_ptr, max_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK_SIZE)
    x = tl.load(x_ptr + row * n_cols + cols, mask=cols < n_cols, other=-float("inf"))
    numerator = tl.exp(x.to(tl.float32) - tl.load(max_ptr + row))
    result = numerator / tl.sum(numerator, axis=0)
    tl.store(output_ptr + row * n_cols + cols, result, mask=cols < n_cols)


find_max, divide = (triton.jit(function) for function in (max_kernel, divide_kernel))


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    largest = torch.empty(rows, dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(cols)
    find_max[(rows,)](x, largest, cols, block, num_warps=8)
    divide[(rows,)](x, largest, output, cols, block, num_warps=8)
    return output
