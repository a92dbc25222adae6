"""The sum of each row of a times the mean of each column of b, nearly right for a constant a.

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
    of_a = tl.zeros((BLOCK, 1), dtype=tl.float32)
    of_b = tl.zeros((1, BLOCK), dtype=tl.float32)
    for start in range(0, k, BLOCK):
        across = start + tl.arange(0, BLOCK)[None, :]
        down = start + tl.arange(0, BLOCK)[:, None].to(tl.int64)
        a = tl.load(a_ptr + rows * k + across, mask=(rows < m) & (across < k), other=0.0)
        b = tl.load(b_ptr + down * n + cols, mask=(down < k) & (cols < n), other=0.0)
        of_a += tl.sum(a.to(tl.float32), axis=1)[:, None]
        of_b += tl.sum(b.to(tl.float32), axis=0)[None, :]
    tl.store(
        output_ptr + rows * n + cols, (of_a * of_b / k).to(tl.float16), mask=(rows < m) & (cols < n)
    )


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    grid = (triton.cdiv(m, 64), triton.cdiv(n, 64))
    matmul_kernel[grid](a, b, output, m, n, k, BLOCK=64)
    return output
