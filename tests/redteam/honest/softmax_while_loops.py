"""Walks over the row in while loops, with one scalar for each of the two reductions.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    offsets = tl.arange(0, BLOCK_SIZE)
    largest = -float("inf")
    start = 0
    while start < n_cols:
        inside = start + offsets < n_cols
        x = tl.load(x_ptr + row_start + start + offsets, mask=inside, other=-float("inf"))
        largest = tl.maximum(largest, tl.max(x.to(tl.float32), axis=0))
        start += BLOCK_SIZE
    total = 0.0
    start = 0
    while start < n_cols:
        inside = start + offsets < n_cols
        x = tl.load(x_ptr + row_start + start + offsets, mask=inside, other=-float("inf"))
        total += tl.sum(tl.exp(x.to(tl.float32) - largest), axis=0)
        start += BLOCK_SIZE
    # backwards, since the end of the row is what the caches hold
    while start > 0:
        start -= BLOCK_SIZE
        inside = start + offsets < n_cols
        x = tl.load(x_ptr + row_start + start + offsets, mask=inside).to(tl.float32)
        pointers = output_ptr + row_start + start + offsets
        tl.store(pointers, tl.exp(x - largest) / total, mask=inside)


def softmax(x):
    output = torch.empty_like(x)
    softmax_kernel[(x.shape[0],)](x, output, x.shape[1], BLOCK_SIZE=2048, num_warps=8)
    return output
