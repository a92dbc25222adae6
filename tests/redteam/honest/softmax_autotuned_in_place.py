"""Works in place on a copy made by a kernel of its own, which the tuner restores.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def copy_kernel(x_ptr, output_ptr, n_elements, BLOCK_SIZE: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = offsets < n_elements
    tl.store(output_ptr + offsets, tl.load(x_ptr + offsets, mask=inside), mask=inside)


@triton.autotune(
    [triton.Config({}, num_warps=warps) for warps in (4, 8)],
    key=["n_cols"],
    restore_value=["rows_ptr"],
)
@triton.jit
def softmax_in_place_kernel(rows_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    pointers = rows_ptr + tl.program_id(0).to(tl.int64) * n_cols + cols
    x = tl.load(pointers, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(pointers, numerator / tl.sum(numerator, axis=0), mask=inside)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    copy_kernel[(triton.cdiv(x.numel(), 1024),)](x, output, x.numel(), BLOCK_SIZE=1024)
    softmax_in_place_kernel[(rows,)](output, cols, BLOCK_SIZE=triton.next_power_of_2(cols))
    return output
