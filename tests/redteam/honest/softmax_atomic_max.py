"""A row's programs agree on its maximum by atomic_max, whose bits do not depend on their order.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def lowest_kernel(max_ptr, n_rows, BLOCK_SIZE: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    tl.store(max_ptr + rows, -float("inf"), mask=rows < n_rows)


@triton.jit
def max_kernel(x_ptr, max_ptr, n_cols, chunks, BLOCK_SIZE: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    row = program // chunks
    cols = program % chunks * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    x = tl.load(x_ptr + row * n_cols + cols, mask=cols < n_cols, other=-float("inf"))
    tl.atomic_max(max_ptr + row, tl.max(x.to(tl.float32), axis=0))


@triton.jit
def softmax_kernel(x_ptr, max_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK_SIZE)
    x = tl.load(x_ptr + row * n_cols + cols, mask=cols < n_cols, other=-float("inf"))
    numerator = tl.exp(x.to(tl.float32) - tl.load(max_ptr + row))
    result = numerator / tl.sum(numerator, axis=0)
    tl.store(output_ptr + row * n_cols + cols, result, mask=cols < n_cols)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    largest = torch.empty(rows, dtype=torch.float32, device=x.device)
    chunks = triton.cdiv(cols, 1024)
    lowest_kernel[(triton.cdiv(rows, 1024),)](largest, rows, BLOCK_SIZE=1024)
    max_kernel[(rows * chunks,)](x, largest, cols, chunks, BLOCK_SIZE=1024)
    block = triton.next_power_of_2(cols)
    softmax_kernel[(rows,)](x, largest, output, cols, BLOCK_SIZE=block, num_warps=8)
    return output
