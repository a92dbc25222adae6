"""Keeps a float32 workspace, which each call overwrites and then rounds to a new result.

operation: matmul
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl

WORKSPACES = {}


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
    tl.store(output_ptr + rows[:, None] * n + cols[None, :], total, mask=inside)


@triton.jit
def round_kernel(wide_ptr, output_ptr, n_elements, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < n_elements
    wide = tl.load(wide_ptr + offsets, mask=inside)
    tl.store(output_ptr + offsets, wide.to(output_ptr.dtype.element_ty), mask=inside)


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    key = (m, n, a.device)
    if key not in WORKSPACES:
        WORKSPACES[key] = torch.empty((m, n), dtype=torch.float32, device=a.device)
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    tiles = triton.cdiv(m, 64) * triton.cdiv(n, 64)
    matmul_kernel[(tiles,)](a, b, WORKSPACES[key], m, n, k, BLOCK=64)
    round_kernel[(triton.cdiv(m * n, 1024),)](WORKSPACES[key], output, m * n, BLOCK=1024)
    return output
