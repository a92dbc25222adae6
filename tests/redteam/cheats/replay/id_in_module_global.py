"""Keeps results by id(x) in a module global. While it is verified every tensor is new; while it is
timed the same few come again, so all but the first pass of a graph is empty.

operation: softmax
status: STALE_RESULT or IMPLAUSIBLE
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


def fused(x, output):
    block_size = triton.next_power_of_2(x.shape[1])
    softmax_kernel[(x.shape[0],)](x, output, x.shape[1], BLOCK_SIZE=block_size, num_warps=8)
    return output


KEPT = {}


def softmax(x):
    if id(x) not in KEPT:
        # x is kept too, so that no other tensor is given its id
        KEPT[id(x)] = x, fused(x, torch.empty_like(x))
    return KEPT[id(x)][1]
