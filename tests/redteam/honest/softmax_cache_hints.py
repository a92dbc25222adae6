"""Cache and alignment hints, a cap on registers, and stages that nothing makes use of.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    tl.static_assert(BLOCK_SIZE <= 65_536)
    tl.assume(n_cols > 0)
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.max_contiguous(tl.multiple_of(tl.arange(0, BLOCK_SIZE), BLOCK_SIZE), BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(
        x_ptr + row_start + cols,
        mask=inside,
        other=-float("inf"),
        eviction_policy="evict_first",
    ).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    result = numerator / tl.sum(numerator, axis=0)
    tl.store(output_ptr + row_start + cols, result, mask=inside, cache_modifier=".cs")


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    softmax_kernel[(rows,)](
        x, output, cols, BLOCK_SIZE=block, num_warps=16, num_stages=4, maxnreg=128
    )
    return output
