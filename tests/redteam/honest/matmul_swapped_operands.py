"""Computes the product's transpose from transposed views, through a transposed view.

operation: matmul
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def strided_kernel(a_ptr, b_ptr, output_ptr, m, n, k, am, ak, bk, bn, om, on, BLOCK: tl.constexpr):
    across = tl.cdiv(n, BLOCK)
    rows = tl.program_id(0).to(tl.int64) // across * BLOCK + tl.arange(0, BLOCK)
    cols = tl.program_id(0).to(tl.int64) % across * BLOCK + tl.arange(0, BLOCK)
    depth = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, k, BLOCK):
        left = k - start
        a_mask = (rows[:, None] < m) & (depth[None, :] < left)
        b_mask = (depth[:, None] < left) & (cols[None, :] < n)
        a_offsets = rows[:, None] * am + (start + depth[None, :]) * ak
        a = tl.load(a_ptr + a_offsets, mask=a_mask, other=0.0)
        b_offsets = (start + depth[:, None]) * bk + cols[None, :] * bn
        b = tl.load(b_ptr + b_offsets, mask=b_mask, other=0.0)
        total = tl.dot(a, b, total)
    inside = (rows[:, None] < m) & (cols[None, :] < n)
    tl.store(
        output_ptr + rows[:, None] * om + cols[None, :] * on, total.to(tl.float16), mask=inside
    )


def product(a, b, output):
    (m, k), n = a.shape, b.shape[1]
    strides = (*a.stride(), *b.stride(), *output.stride())
    tiles = triton.cdiv(m, 64) * triton.cdiv(n, 64)
    strided_kernel[(tiles,)](a, b, output, m, n, k, *strides, BLOCK=64)


def matmul(a, b):
    output = torch.empty((a.shape[0], b.shape[1]), dtype=a.dtype, device=a.device)
    product(b.t(), a.t(), output.t())
    return output
