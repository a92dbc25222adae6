"""Passes addresses as integers, which the kernel makes pointers of, as kernels for grouped work do.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(
    x_address, output_address, n_cols, DTYPE: tl.constexpr, BLOCK_SIZE: tl.constexpr
):
    x_ptr = x_address.to(tl.pointer_type(DTYPE))
    output_ptr = output_address.to(tl.pointer_type(DTYPE))
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


DTYPES = {
    torch.float32: tl.float32,
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
}


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    softmax_kernel[(rows,)](
        x.data_ptr(), output.data_ptr(), cols, DTYPES[x.dtype], BLOCK_SIZE=block, num_warps=8
    )
    return output
