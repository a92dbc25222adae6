"""Makes tensor descriptors on the GPU where strides allow it; pointers serve other sizes.

operation: matmul
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


def allocate(size, _alignment, _stream):
    return torch.empty(size, dtype=torch.int8, device="cuda")


@triton.jit
def descriptor_kernel(a_ptr, b_ptr, output_ptr, m, n, k, BLOCK: tl.constexpr):
    a = tl.make_tensor_descriptor(a_ptr, [m, k], [k, 1], [BLOCK, BLOCK])
    b = tl.make_tensor_descriptor(b_ptr, [k, n], [n, 1], [BLOCK, BLOCK])
    output = tl.make_tensor_descriptor(output_ptr, [m, n], [n, 1], [BLOCK, BLOCK])
    row = tl.program_id(0) // tl.cdiv(n, BLOCK) * BLOCK
    col = tl.program_id(0) % tl.cdiv(n, BLOCK) * BLOCK
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, k, BLOCK):
        total = tl.dot(a.load([row, start]), b.load([start, col]), total)
    output.store([row, col], total.to(tl.float16))


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
    tiles = triton.cdiv(m, 64) * triton.cdiv(n, 64)
    kernel = matmul_kernel
    # a descriptor's strides are multiples of 16 bytes
    if n % 8 == 0 and k % 8 == 0:
        triton.set_allocator(allocate)
        kernel = descriptor_kernel
    kernel[(tiles,)](a, b, output, m, n, k, BLOCK=64)
    return output
