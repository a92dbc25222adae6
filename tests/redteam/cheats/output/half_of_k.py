"""Sums over the first half of k and doubles the result: half of the work.

operation: matmul
status: INCORRECT
interpreter: INCORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def matmul_kernel(a_ptr, b_ptr, output_ptr, m, n, k, BLOCK: tl.constexpr):
    rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)[:, None]
    cols = tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)[None, :]
    total = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    half = (k + 1) // 2
    for start in range(0, half, BLOCK):
        across = start + tl.arange(0, BLOCK)[None, :]
        down = start + tl.arange(0, BLOCK)[:, None].to(tl.int64)
        a = tl.load(a_ptr + rows * k + across, mask=(rows < m) & (across < half), other=0.0)
        b = tl.load(b_ptr + down * n + cols, mask=(down < half) & (cols < n), other=0.0)
        total = tl.dot(a, b, total)
    tl.store(
        output_ptr + rows * n + cols,
        (total * k / half).to(tl.float16),
        mask=(rows < m) & (cols < n),
    )


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    grid = (triton.cdiv(m, 64), triton.cdiv(n, 64))
    matmul_kernel[grid](a, b, output, m, n, k, BLOCK=64)
    return output
