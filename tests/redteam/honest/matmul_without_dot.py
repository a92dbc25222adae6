"""Multiplies in float32 and adds up outer products by tl.sum, without tl.dot and its tensor cores.

operation: matmul
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def matmul_kernel(a_ptr, b_ptr, output_ptr, m, n, k, BLOCK: tl.constexpr):
    across = tl.cdiv(n, BLOCK)
    rows = tl.program_id(0).to(tl.int64) // across * BLOCK + tl.arange(0, BLOCK)
    cols = tl.program_id(0).to(tl.int64) % across * BLOCK + tl.arange(0, BLOCK)
    depth = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, k, BLOCK):
        left = k - start
        a_mask = (rows[:, None] < m) & (depth[None, :] < left)
        b_mask = (depth[:, None] < left) & (cols[None, :] < n)
        a = tl.load(a_ptr + rows[:, None] * k + start + depth[None, :], mask=a_mask, other=0.0)
        b = tl.load(b_ptr + (start + depth[:, None]) * n + cols[None, :], mask=b_mask, other=0.0)
        total += tl.sum(a.to(tl.float32)[:, :, None] * b.to(tl.float32)[None, :, :], axis=1)
    inside = (rows[:, None] < m) & (cols[None, :] < n)
    tl.store(output_ptr + rows[:, None] * n + cols[None, :], total.to(tl.float16), mask=inside)


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    tiles = triton.cdiv(m, 16) * triton.cdiv(n, 16)
    matmul_kernel[(tiles,)](a, b, output, m, n, k, BLOCK=16)
    return output
