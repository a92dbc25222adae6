"""Transposes b by a kernel of its own first, and multiplies by rows of the copy.

operation: matmul
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def transpose_kernel(b_ptr, copy_ptr, k, n, BLOCK: tl.constexpr):
    across = tl.cdiv(n, BLOCK)
    rows = tl.program_id(0).to(tl.int64) // across * BLOCK + tl.arange(0, BLOCK)[:, None]
    cols = tl.program_id(0).to(tl.int64) % across * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside = (rows < k) & (cols < n)
    tile = tl.load(b_ptr + rows * n + cols, mask=inside)
    tl.store(copy_ptr + tl.trans(cols * k + rows), tl.trans(tile), mask=tl.trans(inside))


@triton.jit
def matmul_kernel(a_ptr, copy_ptr, output_ptr, m, n, k, BLOCK: tl.constexpr):
    across = tl.cdiv(n, BLOCK)
    rows = tl.program_id(0).to(tl.int64) // across * BLOCK + tl.arange(0, BLOCK)
    cols = tl.program_id(0).to(tl.int64) % across * BLOCK + tl.arange(0, BLOCK)
    depth = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, k, BLOCK):
        left = k - start
        a_mask = (rows[:, None] < m) & (depth[None, :] < left)
        b_mask = (cols[:, None] < n) & (depth[None, :] < left)
        a = tl.load(a_ptr + rows[:, None] * k + start + depth[None, :], mask=a_mask, other=0.0)
        b = tl.load(copy_ptr + cols[:, None] * k + start + depth[None, :], mask=b_mask, other=0.0)
        total = tl.dot(a, tl.trans(b), total)
    inside = (rows[:, None] < m) & (cols[None, :] < n)
    tl.store(output_ptr + rows[:, None] * n + cols[None, :], total.to(tl.float16), mask=inside)


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    copy = torch.empty((n, k), dtype=b.dtype, device=b.device)
    transpose_kernel[(triton.cdiv(k, 64) * triton.cdiv(n, 64),)](b, copy, k, n, BLOCK=64)
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    tiles = triton.cdiv(m, 64) * triton.cdiv(n, 64)
    matmul_kernel[(tiles,)](a, copy, output, m, n, k, BLOCK=64)
    return output
