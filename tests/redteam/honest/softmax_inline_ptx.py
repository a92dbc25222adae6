"""Takes exp2 by an instruction of its own choice, written as PTX.

operation: softmax
status: CORRECT
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
    numerator = tl.inline_asm_elementwise(
        "ex2.approx.f32 $0, $1;",
        "=r,r",
        [(x - tl.max(x, axis=0)) * 1.4426950408889634],
        dtype=tl.float32,
        is_pure=True,
        pack=1,
    )
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    softmax_kernel[(rows,)](x, output, cols, BLOCK_SIZE=block, num_warps=8)
    return output
