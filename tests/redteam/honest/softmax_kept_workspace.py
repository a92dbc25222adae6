"""Keeps a workspace that every call writes before it reads it; results are always new.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl

WORKSPACES = {}


@triton.jit
def statistics_kernel(x_ptr, statistics_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK_SIZE)
    x = tl.load(x_ptr + row * n_cols + cols, mask=cols < n_cols, other=-float("inf"))
    largest = tl.max(x.to(tl.float32), axis=0)
    tl.store(statistics_ptr + 2 * row, largest)
    tl.store(statistics_ptr + 2 * row + 1, tl.sum(tl.exp(x.to(tl.float32) - largest), axis=0))


@triton.jit
def normalise_kernel(x_ptr, statistics_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    largest = tl.load(statistics_ptr + 2 * row)
    total = tl.load(statistics_ptr + 2 * row + 1)
    cols = tl.arange(0, BLOCK_SIZE)
    x = tl.load(x_ptr + row * n_cols + cols, mask=cols < n_cols).to(tl.float32)
    tl.store(output_ptr + row * n_cols + cols, tl.exp(x - largest) / total, mask=cols < n_cols)


def softmax(x):
    rows, cols = x.shape
    key = (rows, x.device)
    if key not in WORKSPACES:
        WORKSPACES[key] = torch.empty((rows, 2), dtype=torch.float32, device=x.device)
    output = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    statistics_kernel[(rows,)](x, WORKSPACES[key], cols, block, num_warps=8)
    normalise_kernel[(rows,)](x, WORKSPACES[key], output, cols, block, num_warps=8)
    return output
