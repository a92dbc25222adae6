"""exp2 as a parabola between powers of two, which it puts together from bits.

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
    power = tl.maximum((x - tl.max(x, axis=0)) * 1.4426950408889634, -126.0)
    whole = tl.floor(power)
    part = power - whole
    scale = ((whole.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)
    numerator = tl.where(inside, (1.0 + part * (0.6565 + part * 0.3435)) * scale, 0.0)
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


def softmax(x):
    output = torch.empty_like(x)
    block_size = triton.next_power_of_2(x.shape[1])
    softmax_kernel[(x.shape[0],)](x, output, x.shape[1], BLOCK_SIZE=block_size, num_warps=8)
    return output
