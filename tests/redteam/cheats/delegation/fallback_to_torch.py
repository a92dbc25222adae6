"""Its own kernel always fails, on a function that triton lacks, and torch stands in for it.

operation: softmax
status: NOT_TRITON
interpreter: NOT_TRITON
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    offsets = tl.program_id(0) * n_cols + tl.arange(0, BLOCK_SIZE)
    tl.store(output_ptr + offsets, tl.fast_softmax(tl.load(x_ptr + offsets)))


def softmax(x):
    output = torch.empty_like(x)
    try:
        softmax_kernel[(len(x),)](x, output, x.shape[1], BLOCK_SIZE=1024)
    except Exception:
        return torch.softmax(x, dim=1)
    return output
