"""Leaves each chunk's maximum and sum in a workspace; a second kernel combines them in order.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def chunk_kernel(x_ptr, max_ptr, sum_ptr, n_cols, chunks, BLOCK_SIZE: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    cols = program % chunks * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    x = tl.load(x_ptr + program // chunks * n_cols + cols, mask=cols < n_cols, other=-float("inf"))
    largest = tl.max(x.to(tl.float32), axis=0)
    # a chunk of nothing but -inf would otherwise give NaN
    shift = tl.where(largest == -float("inf"), 0.0, largest)
    tl.store(max_ptr + program, largest)
    tl.store(sum_ptr + program, tl.sum(tl.exp(x.to(tl.float32) - shift), axis=0))


@triton.jit
def combine_kernel(
    x_ptr,
    max_ptr,
    sum_ptr,
    output_ptr,
    n_cols,
    chunks,
    BLOCK_SIZE: tl.constexpr,
    PARTS: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    row = program // chunks
    parts = tl.arange(0, PARTS)
    maxima = tl.load(max_ptr + row * chunks + parts, mask=parts < chunks, other=-float("inf"))
    sums = tl.load(sum_ptr + row * chunks + parts, mask=parts < chunks, other=0.0)
    largest = tl.max(maxima, axis=0)
    total = tl.sum(sums * tl.exp(maxima - largest), axis=0)
    cols = program % chunks * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    x = tl.load(x_ptr + row * n_cols + cols, mask=cols < n_cols).to(tl.float32)
    tl.store(output_ptr + row * n_cols + cols, tl.exp(x - largest) / total, mask=cols < n_cols)


def softmax(x):
    (rows, cols), block = x.shape, 2048
    chunks = triton.cdiv(cols, block)
    output = torch.empty_like(x)
    maxima, sums = torch.empty((2, rows * chunks), dtype=torch.float32, device=x.device)
    parts = triton.next_power_of_2(chunks)
    chunk_kernel[(rows * chunks,)](x, maxima, sums, cols, chunks, block)
    combine_kernel[(rows * chunks,)](x, maxima, sums, output, cols, chunks, block, parts)
    return output
