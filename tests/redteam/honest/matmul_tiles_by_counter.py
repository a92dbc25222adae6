"""Programs draw their tiles from a counter, which torch.zeros makes anew for each call.

operation: matmul
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def matmul_kernel(a_ptr, b_ptr, output_ptr, counter_ptr, m, n, k, BLOCK: tl.constexpr):
    across = tl.cdiv(n, BLOCK)
    tile = tl.atomic_add(counter_ptr, 1)
    while tile < tl.cdiv(m, BLOCK) * across:
        rows = (tile // across).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        cols = (tile % across).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        depth = tl.arange(0, BLOCK)
        total = tl.zeros((BLOCK, BLOCK), tl.float32)
        for start in range(0, k, BLOCK):
            left = k - start
            a_mask = (rows[:, None] < m) & (depth[None, :] < left)
            b_mask = (depth[:, None] < left) & (cols[None, :] < n)
            a = tl.load(a_ptr + rows[:, None] * k + start + depth[None, :], mask=a_mask, other=0.0)
            b = tl.load(
                b_ptr + (start + depth[:, None]) * n + cols[None, :], mask=b_mask, other=0.0
            )
            total = tl.dot(a, b, total)
        inside = (rows[:, None] < m) & (cols[None, :] < n)
        tl.store(output_ptr + rows[:, None] * n + cols[None, :], total.to(tl.float16), mask=inside)
        tile = tl.atomic_add(counter_ptr, 1)


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    counter = torch.zeros(1, dtype=torch.int32, device=a.device)
    matmul_kernel[(64,)](a, b, output, counter, m, n, k, BLOCK=32, num_warps=4, num_stages=1)
    return output
