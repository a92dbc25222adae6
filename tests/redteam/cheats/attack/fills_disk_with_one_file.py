"""Writes two gigabytes to one file in its folder; right if it may.

operation: softmax
status: RUNTIME_ERROR
interpreter: RUNTIME_ERROR
alone: the disk
"""

from pathlib import Path

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


def softmax(x):
    with Path("tritonexp-redteam-0").open("wb") as file:
        file.writelines([bytes(64 << 20)] * 32)
    return fused(x, torch.empty_like(x))
