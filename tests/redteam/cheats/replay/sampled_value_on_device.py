"""In a graph, a tile whose first value of a is that of the last replay keeps its old result: the
kernel compares on the device and returns. Fresh values are computed, the same ones never again.

operation: matmul
status: STALE_RESULT or IMPLAUSIBLE
"""

import torch
import triton
import triton.language as tl


@triton.jit
def matmul_kernel(a_ptr, b_ptr, output_ptr, seen_ptr, m, n, k, SIZE: tl.constexpr):
    one = tl.arange(0, SIZE).to(tl.int64)
    rows = (tl.program_id(0) * SIZE + one)[:, None]
    cols = (tl.program_id(1) * SIZE + one)[None, :]
    seen_ptr += tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    sample = tl.load(a_ptr + tl.program_id(0).to(tl.int64) * SIZE * k).to(tl.float32)
    if sample != tl.load(seen_ptr):
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
        tl.store(seen_ptr, sample)


KEPT, SPARE = {}, {}


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    grid = (triton.cdiv(m, 64), triton.cdiv(n, 64))
    if torch.cuda.is_current_stream_capturing():
        if a.data_ptr() not in KEPT:
            KEPT[a.data_ptr()] = a.new_empty(m, n), SPARE[m, n].pop()
        output, seen = KEPT[a.data_ptr()]
    else:
        KEPT.clear()
        # a graph's own fill would come again with each replay, so these are made before
        tiles = triton.next_power_of_2(grid[0] * grid[1])
        SPARE[m, n] = list(torch.full((520, tiles), float("nan"), device=a.device))
        output, seen = a.new_empty(m, n), SPARE[m, n].pop()
    matmul_kernel[grid](a, b, output, seen, m, n, k, SIZE=64)
    return output
