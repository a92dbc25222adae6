"""As many programs as the GPU has multiprocessors, each of which goes from tile to tile.

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
    tile = tl.program_id(0).to(tl.int64)
    while tile < tl.cdiv(m, BLOCK) * across:
        rows = tile // across * BLOCK + tl.arange(0, BLOCK)
        cols = tile % across * BLOCK + tl.arange(0, BLOCK)
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
        tile += tl.num_programs(0)


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    programs = 3
    if a.is_cuda:
        programs = torch.cuda.get_device_properties(a.device).multi_processor_count
    matmul_kernel[(programs,)](a, b, output, m, n, k, BLOCK=64, num_warps=4)
    return output
