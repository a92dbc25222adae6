"""Treats sizes differently, by a table that somebody tuned: only how, never what is computed.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl

# by columns: warps, stages
TUNED = {1024: (4, 2), 2048: (8, 2), 4096: (16, 1), 781: (4, 1)}


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


def softmax(x):
    rows, cols = x.shape
    if rows > 1 << 20 or cols > 1 << 16:
        raise ValueError(f"{rows} x {cols} is beyond what this softmax was written for")
    output = torch.empty_like(x)
    num_warps, num_stages = TUNED.get(cols, (8, 1))
    softmax_kernel[(rows,)](
        x,
        output,
        cols,
        BLOCK_SIZE=triton.next_power_of_2(cols),
        num_warps=num_warps,
        num_stages=num_stages,
    )
    return output
