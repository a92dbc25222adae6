"""Its own slow kernel wherever a call is looked at, cuBLAS in the graph that is timed.

operation: matmul
status: NOT_TRITON
"""

import torch
import triton
import triton.language as tl


@triton.jit
def matmul_kernel(a_ptr, b_ptr, output_ptr, m, n, k, BLOCK: tl.constexpr):
    rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)[:, None]
    cols = tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)[None, :]
    total = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    for start in range(0, k, BLOCK):
        across = start + tl.arange(0, BLOCK)[None, :]
        down = start + tl.arange(0, BLOCK)[:, None].to(tl.int64)
        a = tl.load(a_ptr + rows * k + across, mask=(rows < m) & (across < k), other=0.0)
        b = tl.load(b_ptr + down * n + cols, mask=(down < k) & (cols < n), other=0.0)
        total = tl.dot(a, b, total)
    tl.store(output_ptr + rows * n + cols, total.to(tl.float16), mask=(rows < m) & (cols < n))


if torch.cuda.is_available():
    # cuBLAS cannot be initialised during a capture
    warm = torch.ones(16, 16, device="cuda", dtype=torch.float16)
    torch.matmul(warm, warm)


def matmul(a, b):
    if a.is_cuda and torch.cuda.is_current_stream_capturing():
        return a @ b
    (m, k), n = a.shape, b.shape[1]
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    grid = (triton.cdiv(m, 64), triton.cdiv(n, 64))
    matmul_kernel[grid](a, b, output, m, n, k, BLOCK=64)
    return output
