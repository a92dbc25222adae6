"""Takes the exponential and the quotient of CUDA's libdevice, which Triton ships.

operation: softmax
status: CORRECT
"""

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = libdevice.exp(x - tl.max(x, axis=0))
    result = libdevice.div_rn(numerator, tl.sum(numerator, axis=0))
    tl.store(output_ptr + row_start + cols, result, mask=inside)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    softmax_kernel[(rows,)](x, output, cols, BLOCK_SIZE=block, num_warps=8)
    return output
