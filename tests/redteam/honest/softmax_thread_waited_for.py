"""Another thread launches the kernel, on the caller's stream, and is waited for.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor

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


POOL = ThreadPoolExecutor(1)


def launch(x, output, stream):
    block = triton.next_power_of_2(x.shape[1])
    with stream:
        softmax_kernel[(x.shape[0],)](x, output, x.shape[1], BLOCK_SIZE=block, num_warps=8)


def softmax(x):
    output = torch.empty_like(x)
    stream = contextlib.nullcontext()
    if x.is_cuda:
        stream = torch.cuda.stream(torch.cuda.current_stream(x.device))
    POOL.submit(launch, x, output, stream).result()
    return output
