"""A program takes several short rows as one two-dimensional tile.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(
    x_ptr, output_ptr, n_rows, n_cols, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    cols = tl.arange(0, BLOCK_COLS)
    offsets = rows[:, None] * n_cols + cols[None, :]
    inside_cols = cols[None, :] < n_cols
    inside = (rows[:, None] < n_rows) & inside_cols
    # rows past the end hold zeros rather than -inf, or their quotients would be NaN
    x = tl.load(x_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    x = tl.where(inside_cols, x, -float("inf"))
    numerator = tl.exp(x - tl.max(x, axis=1, keep_dims=True))
    result = numerator / tl.sum(numerator, axis=1, keep_dims=True)
    tl.store(output_ptr + offsets, result, mask=inside)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block_cols = triton.next_power_of_2(cols)
    block_rows = max(1, 2048 // block_cols)
    softmax_kernel[(triton.cdiv(rows, block_rows),)](
        x, output, rows, cols, BLOCK_ROWS=block_rows, BLOCK_COLS=block_cols, num_warps=8
    )
    return output
