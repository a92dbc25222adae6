"""Loops on the GPU for two minutes.

operation: softmax
status: TIMEOUT
"""

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import globaltimer


@triton.jit
def endless_kernel(now_ptr):
    begin = globaltimer()
    now = begin
    while now - begin < 120000000000:
        now = globaltimer()
    tl.store(now_ptr, now)


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


def softmax(x):
    endless_kernel[(1,)](torch.zeros(1, dtype=torch.int64, device=x.device))
    return fused(x, torch.empty_like(x))
