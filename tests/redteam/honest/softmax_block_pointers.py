"""Addresses the row through a block pointer, whose boundary checks stand for masks.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def row_of(base_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    return tl.make_block_ptr(
        base_ptr + tl.program_id(0).to(tl.int64) * n_cols,
        shape=(n_cols,),
        strides=(1,),
        offsets=(0,),
        block_shape=(BLOCK_SIZE,),
        order=(0,),
    )


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    x = tl.load(row_of(x_ptr, n_cols, BLOCK_SIZE), boundary_check=(0,)).to(tl.float32)
    # what is beyond the row is undefined
    x = tl.where(tl.arange(0, BLOCK_SIZE) < n_cols, x, -float("inf"))
    numerator = tl.exp(x - tl.max(x, axis=0))
    result = (numerator / tl.sum(numerator, axis=0)).to(output_ptr.dtype.element_ty)
    tl.store(row_of(output_ptr, n_cols, BLOCK_SIZE), result, boundary_check=(0,))


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    softmax_kernel[(rows,)](x, output, cols, BLOCK_SIZE=block, num_warps=8)
    return output
