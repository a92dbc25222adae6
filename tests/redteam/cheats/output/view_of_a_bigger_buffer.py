"""Right values in a view with padded rows: its stores are aligned, its reader needs the stride.

operation: softmax
status: WRONG_FORM
interpreter: WRONG_FORM
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, stride, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    output_ptr += tl.program_id(0).to(tl.int64) * stride
    tl.store(output_ptr + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


def softmax(x):
    n_rows, n_cols = x.shape
    block_size = triton.next_power_of_2(n_cols)
    padded = torch.empty(n_rows, block_size + 64, dtype=x.dtype, device=x.device)
    softmax_kernel[(n_rows,)](
        x, padded, n_cols, padded.stride(0), BLOCK_SIZE=block_size, num_warps=8
    )
    return padded[:, :n_cols]
