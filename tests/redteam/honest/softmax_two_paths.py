"""Powers of two take a kernel without masks, other widths one with them; both are Triton's.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def even_kernel(x_ptr, output_ptr, COLS: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * COLS + tl.arange(0, COLS)
    x = tl.load(x_ptr + offsets).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + offsets, numerator / tl.sum(numerator, axis=0))


@triton.jit
def odd_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    if cols & (cols - 1) == 0:
        even_kernel[(rows,)](x, output, COLS=cols, num_warps=8)
    else:
        block = triton.next_power_of_2(cols)
        odd_kernel[(rows,)](x, output, cols, BLOCK_SIZE=block, num_warps=8)
    return output
