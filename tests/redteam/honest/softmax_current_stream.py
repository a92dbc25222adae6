"""Names the stream on which it launches: the one that the caller is on.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import contextlib

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


def caller_stream(x):
    if not x.is_cuda:
        return contextlib.nullcontext()
    return torch.cuda.stream(torch.cuda.current_stream(x.device))


def softmax(x):
    output = torch.empty_like(x)
    block = triton.next_power_of_2(x.shape[1])
    with caller_stream(x):
        softmax_kernel[(x.shape[0],)](x, output, x.shape[1], BLOCK_SIZE=block, num_warps=8)
    return output
