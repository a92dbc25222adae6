"""Allocates bytes, returns them as numbers, and has the kernel read its input as integers.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, DTYPE: tl.constexpr, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    bits = tl.load(x_ptr + row_start + cols, mask=inside, other=0)
    x = tl.where(inside, bits.to(DTYPE, bitcast=True).to(tl.float32), -float("inf"))
    numerator = tl.exp(x - tl.max(x, axis=0))
    result = (numerator / tl.sum(numerator, axis=0)).to(DTYPE)
    tl.store(output_ptr + row_start + cols, result, mask=inside)


DTYPES = {
    torch.float32: (torch.int32, tl.float32),
    torch.float16: (torch.int16, tl.float16),
    torch.bfloat16: (torch.int16, tl.bfloat16),
}


def softmax(x):
    rows, cols = x.shape
    integer, dtype = DTYPES[x.dtype]
    memory = torch.empty(x.numel() * x.element_size(), dtype=torch.uint8, device=x.device)
    output = memory.view(x.dtype).view(rows, cols)
    block = triton.next_power_of_2(cols)
    softmax_kernel[(rows,)](x.view(integer), output, cols, dtype, BLOCK_SIZE=block, num_warps=8)
    return output
