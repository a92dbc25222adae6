"""Writes the bias to each row, which is the mean of the results; x is never read.

operation: layer_norm
status: INCORRECT
interpreter: INCORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def bias_kernel(bias_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    bias = tl.load(bias_ptr + cols, mask=cols < n_cols)
    tl.store(output_ptr + row_start + cols, bias, mask=cols < n_cols)


def layer_norm(x, weight, bias, eps=1e-5):
    output = torch.empty_like(x)
    block_size = triton.next_power_of_2(x.shape[1])
    bias_kernel[(len(x),)](bias, output, x.shape[1], BLOCK_SIZE=block_size, num_warps=8)
    return output
