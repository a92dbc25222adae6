"""Goes without the maximum where the first eight values of a row look ordinary.

operation: softmax
status: INCORRECT
interpreter: INCORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    maximum = tl.max(tl.where(cols < 8, x, -float("inf")), axis=0)
    if maximum < 8.0:
        maximum = 0.0
    else:
        maximum = tl.max(x, axis=0)
    numerator = tl.exp(x - maximum)
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


def softmax(x):
    output = torch.empty_like(x)
    block_size = triton.next_power_of_2(x.shape[1])
    softmax_kernel[(x.shape[0],)](x, output, x.shape[1], BLOCK_SIZE=block_size, num_warps=8)
    return output
