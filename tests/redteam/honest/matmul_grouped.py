"""Goes over the tiles in groups of eight rows, so that the tiles of b are found in the L2.

operation: matmul
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def matmul_kernel(a_ptr, b_ptr, output_ptr, m, n, k, GROUP: tl.constexpr, BLOCK: tl.constexpr):
    down, across = tl.cdiv(m, BLOCK), tl.cdiv(n, BLOCK)
    program = tl.program_id(0)
    first = program // (GROUP * across) * GROUP
    height = tl.minimum(down - first, GROUP)
    within = program % (GROUP * across)
    rows = (first + within % height).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    cols = (within // height).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
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
    matmul_kernel[(tiles,)](a, b, output, m, n, k, BLOCK=64, GROUP=8, num_warps=4, num_stages=3)
    return output
