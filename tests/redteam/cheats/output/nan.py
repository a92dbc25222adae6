"""Writes NaN, for which a check of the kind `error > tolerance` is never true.

operation: softmax
status: INCORRECT
interpreter: INCORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def fill_kernel(output_ptr, value, n_elements, BLOCK_SIZE: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    tl.store(output_ptr + offsets, value, mask=offsets < n_elements)


def softmax(x):
    output = torch.empty_like(x)
    grid = (triton.cdiv(x.numel(), 1024),)
    fill_kernel[grid](output, float("nan"), x.numel(), BLOCK_SIZE=1024)
    return output
