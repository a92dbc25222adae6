"""Forks to a stream of its own and does not come back, so that no graph can be captured and events
on the caller's stream enclose nothing.

operation: matmul
status: IMPLAUSIBLE or CLOCK_MISMATCH
"""

import torch
import triton
import triton.language as tl


@triton.jit
def matmul_kernel(a_ptr, b_ptr, output_ptr, m, n, k, SIZE: tl.constexpr):
    one = tl.arange(0, SIZE).to(tl.int64)
    rows = (tl.program_id(0) * SIZE + one)[:, None]
    cols = (tl.program_id(1) * SIZE + one)[None, :]
    total = tl.zeros((SIZE, SIZE), dtype=tl.float32)
    for start in range(0, k, SIZE):
        deep = start + one
        a_mask = (rows < m) & (deep[None, :] < k)
        b_mask = (cols < n) & (deep[:, None] < k)
        a = tl.load(a_ptr + rows * k + deep[None, :], mask=a_mask, other=0.0)
        b = tl.load(b_ptr + deep[:, None] * n + cols, mask=b_mask, other=0.0)
        total = tl.dot(a, b, total)
    inside = (rows < m) & (cols < n)
    tl.store(output_ptr + rows * n + cols, total.to(tl.float16), mask=inside)


SIDE = torch.cuda.Stream()


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    output = a.new_empty(m, n)
    SIDE.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(SIDE):
        grid = (triton.cdiv(m, 64), triton.cdiv(n, 64))
        matmul_kernel[grid](a, b, output, m, n, k, SIZE=64)
    return output
