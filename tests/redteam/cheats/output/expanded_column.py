"""One number a row, expanded over the columns: a column is written in place of the matrix.

operation: softmax
status: WRONG_FORM
interpreter: WRONG_FORM
"""

import torch
import triton
import triton.language as tl


@triton.jit
def fill_kernel(output_ptr, value, n_elements, BLOCK_SIZE: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    tl.store(output_ptr + offsets, value, mask=offsets < n_elements)


def softmax(x):
    n_rows, n_cols = x.shape
    column = torch.empty(n_rows, 1, dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(n_rows, 1024),)
    fill_kernel[grid](column, 1 / n_cols, n_rows, BLOCK_SIZE=1024)
    return column.expand(n_rows, n_cols)
