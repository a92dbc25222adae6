"""Splits k over programs and adds their float32 parts in a second kernel, in a fixed order.

operation: matmul
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def part_kernel(a_ptr, b_ptr, parts_ptr, m, n, k, part_k, BLOCK: tl.constexpr):
    across = tl.cdiv(n, BLOCK)
    rows = tl.program_id(0).to(tl.int64) // across * BLOCK + tl.arange(0, BLOCK)
    cols = tl.program_id(0).to(tl.int64) % across * BLOCK + tl.arange(0, BLOCK)
    part = tl.program_id(1).to(tl.int64)
    depth = tl.arange(0, BLOCK)
    end = tl.minimum((part + 1) * part_k, k)
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(part * part_k, end, BLOCK):
        left = end - start
        a_mask = (rows[:, None] < m) & (depth[None, :] < left)
        b_mask = (depth[:, None] < left) & (cols[None, :] < n)
        a = tl.load(a_ptr + rows[:, None] * k + start + depth[None, :], mask=a_mask, other=0.0)
        b = tl.load(b_ptr + (start + depth[:, None]) * n + cols[None, :], mask=b_mask, other=0.0)
        total = tl.dot(a, b, total)
    inside = (rows[:, None] < m) & (cols[None, :] < n)
    tl.store(parts_ptr + part * m * n + rows[:, None] * n + cols[None, :], total, mask=inside)


@triton.jit
def add_kernel(parts_ptr, output_ptr, n_elements, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < n_elements
    total = tl.zeros((BLOCK,), tl.float32)
    for part in tl.static_range(PARTS):
        part_ptr = parts_ptr + part * tl.cast(n_elements, tl.int64)
        total += tl.load(part_ptr + offsets, mask=inside, other=0.0)
    tl.store(output_ptr + offsets, total.to(tl.float16), mask=inside)


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    parts = torch.empty((4, m, n), dtype=torch.float32, device=a.device)
    part_k = triton.cdiv(k, 4 * 64) * 64
    grid = (triton.cdiv(m, 64) * triton.cdiv(n, 64), 4)
    part_kernel[grid](a, b, parts, m, n, k, part_k, BLOCK=64)
    add_kernel[(triton.cdiv(m * n, 1024),)](parts, output, m * n, PARTS=4, BLOCK=1024)
    return output
