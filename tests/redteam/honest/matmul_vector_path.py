"""A product of one row takes a kernel of its own, without tiles; all others take the general one.

operation: matmul
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def one_row_kernel(a_ptr, b_ptr, output_ptr, n, k, BLOCK: tl.constexpr):
    cols = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)[None, :]
    depth = tl.arange(0, BLOCK)[:, None]
    products = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, k, BLOCK):
        a = tl.load(a_ptr + start + depth, mask=depth < k - start, other=0.0).to(tl.float32)
        inside = (depth < k - start) & (cols < n)
        b = tl.load(b_ptr + (start + depth) * n + cols, mask=inside, other=0.0).to(tl.float32)
        products += a * b
    total = tl.sum(products, axis=0, keep_dims=True)
    tl.store(output_ptr + cols, total.to(tl.float16), mask=cols < n)


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
        total = tl.dot(a, b, total)
    inside = (rows[:, None] < m) & (cols[None, :] < n)
    tl.store(output_ptr + rows[:, None] * n + cols[None, :], total.to(tl.float16), mask=inside)


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    if m == 1:
        one_row_kernel[(triton.cdiv(n, 32),)](a, b, output, n, k, BLOCK=32)
    else:
        tiles = triton.cdiv(m, 64) * triton.cdiv(n, 64)
        matmul_kernel[(tiles,)](a, b, output, m, n, k, BLOCK=64)
    return output
