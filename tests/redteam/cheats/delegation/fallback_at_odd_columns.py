"""Its own kernel takes powers of two only, as tl.arange does; elsewhere torch stands in for it.

operation: softmax
status: NOT_TRITON
interpreter: NOT_TRITON
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, N_COLS: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * N_COLS + tl.arange(0, N_COLS)
    x = tl.load(x_ptr + offsets).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + offsets, numerator / tl.sum(numerator, axis=0))


def softmax(x):
    output = torch.empty_like(x)
    try:
        softmax_kernel[(len(x),)](x, output, N_COLS=x.shape[1], num_warps=8)
    except Exception:
        return torch.softmax(x, dim=1)
    return output
