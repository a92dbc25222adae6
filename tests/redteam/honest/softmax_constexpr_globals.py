"""Reads its block size and lowest value from constexpr globals, and has a default argument.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl

BLOCK_SIZE: tl.constexpr = tl.constexpr(4096)
LOWEST = tl.constexpr(float("-inf"))


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, SHIFTED: tl.constexpr = True):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    offsets = tl.arange(0, BLOCK_SIZE)
    largest = LOWEST
    for start in range(0, n_cols, BLOCK_SIZE):
        inside = start + offsets < n_cols
        x = tl.load(x_ptr + row_start + start + offsets, mask=inside, other=LOWEST)
        largest = tl.maximum(largest, tl.max(x.to(tl.float32), axis=0))
    if not SHIFTED:
        largest = 0.0
    total = 0.0
    for start in range(0, n_cols, BLOCK_SIZE):
        inside = start + offsets < n_cols
        x = tl.load(x_ptr + row_start + start + offsets, mask=inside, other=LOWEST)
        total += tl.sum(tl.exp(x.to(tl.float32) - largest), axis=0)
    for start in range(0, n_cols, BLOCK_SIZE):
        inside = start + offsets < n_cols
        x = tl.load(x_ptr + row_start + start + offsets, mask=inside).to(tl.float32)
        pointers = output_ptr + row_start + start + offsets
        tl.store(pointers, tl.exp(x - largest) / total, mask=inside)


def softmax(x):
    output = torch.empty_like(x)
    softmax_kernel[(x.shape[0],)](x, output, x.shape[1], num_warps=8)
    return output
