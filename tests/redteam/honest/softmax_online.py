"""One pass over blocks with a running maximum and sum, then a second that writes.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    offsets = tl.arange(0, BLOCK_SIZE)
    largest = -float("inf")
    total = 0.0
    for start in range(0, n_cols, BLOCK_SIZE):
        cols = start + offsets
        x = tl.load(x_ptr + row_start + cols, mask=cols < n_cols, other=-float("inf"))
        larger = tl.maximum(largest, tl.max(x.to(tl.float32), axis=0))
        # while there was nothing but -inf, there is nothing to rescale
        shift = tl.where(larger == -float("inf"), 0.0, larger)
        total = total * tl.exp(largest - shift) + tl.sum(tl.exp(x.to(tl.float32) - shift), axis=0)
        largest = larger
    for start in range(0, n_cols, BLOCK_SIZE):
        cols = start + offsets
        x = tl.load(x_ptr + row_start + cols, mask=cols < n_cols).to(tl.float32)
        tl.store(output_ptr + row_start + cols, tl.exp(x - largest) / total, mask=cols < n_cols)


def softmax(x):
    output = torch.empty_like(x)
    softmax_kernel[(x.shape[0],)](x, output, x.shape[1], BLOCK_SIZE=1024)
    return output
