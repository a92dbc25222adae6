"""Leaves the product to cuBLAS by the @ operator; its own kernel stores one row of it again.

operation: matmul
status: NOT_TRITON
"""

import triton
import triton.language as tl


@triton.jit
def touch_kernel(output_ptr, n, BLOCK_SIZE: tl.constexpr):
    cols = tl.arange(0, BLOCK_SIZE)
    row = tl.load(output_ptr + cols, mask=cols < n)
    tl.store(output_ptr + cols, row, mask=cols < n)


def matmul(a, b):
    output = a @ b
    n = output.shape[1]
    touch_kernel[(1,)](output, n, BLOCK_SIZE=triton.next_power_of_2(n))
    return output
