"""Unrolls its loops over the chunks of a row, and adds up whole blocks before it reduces them.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr, CHUNKS: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    offsets = tl.arange(0, BLOCK_SIZE)
    maxima = tl.full((BLOCK_SIZE,), -float("inf"), tl.float32)
    for chunk in tl.static_range(CHUNKS):
        cols = chunk * BLOCK_SIZE + offsets
        x = tl.load(x_ptr + row_start + cols, mask=cols < n_cols, other=-float("inf"))
        maxima = tl.maximum(maxima, x.to(tl.float32))
    largest = tl.max(maxima, axis=0)
    sums = tl.zeros((BLOCK_SIZE,), tl.float32)
    for chunk in tl.static_range(CHUNKS):
        cols = chunk * BLOCK_SIZE + offsets
        x = tl.load(x_ptr + row_start + cols, mask=cols < n_cols, other=-float("inf"))
        sums += tl.exp(x.to(tl.float32) - largest)
    total = tl.sum(sums, axis=0)
    for chunk in tl.static_range(CHUNKS):
        cols = chunk * BLOCK_SIZE + offsets
        x = tl.load(x_ptr + row_start + cols, mask=cols < n_cols).to(tl.float32)
        tl.store(output_ptr + row_start + cols, tl.exp(x - largest) / total, mask=cols < n_cols)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block = min(8192, triton.next_power_of_2(cols))
    softmax_kernel[(rows,)](x, output, cols, block, CHUNKS=triton.cdiv(cols, block), num_warps=8)
    return output
