"""The last program of a tile, by an integer counter, adds all parts of k in their order.

operation: matmul
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl

COUNTERS = {}
PARTS = tl.constexpr(4)


@triton.jit
def matmul_kernel(a_ptr, b_ptr, output_ptr, parts_ptr, counter_ptr, m, n, k, BLOCK: tl.constexpr):
    tile = tl.program_id(0).to(tl.int64)
    across = tl.cdiv(n, BLOCK)
    rows = tile // across * BLOCK + tl.arange(0, BLOCK)
    cols = tile % across * BLOCK + tl.arange(0, BLOCK)
    part = tl.program_id(1)
    depth = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(part * BLOCK, k, PARTS * BLOCK):
        left = k - start
        a_mask = (rows[:, None] < m) & (depth[None, :] < left)
        b_mask = (depth[:, None] < left) & (cols[None, :] < n)
        a = tl.load(a_ptr + rows[:, None] * k + start + depth[None, :], mask=a_mask, other=0.0)
        b = tl.load(b_ptr + (start + depth[:, None]) * n + cols[None, :], mask=b_mask, other=0.0)
        total = tl.dot(a, b, total)
    offsets = rows[:, None] * n + cols[None, :]
    inside = (rows[:, None] < m) & (cols[None, :] < n)
    size = tl.cast(m, tl.int64) * n
    tl.store(parts_ptr + part * size + offsets, total, mask=inside)
    # every thread's part is there before the counter says so
    tl.debug_barrier()
    if tl.atomic_add(counter_ptr + tile, 1) == PARTS - 1:
        total = tl.zeros((BLOCK, BLOCK), tl.float32)
        for other in tl.static_range(PARTS):
            # the L1 may hold what was there before
            parts = parts_ptr + other * size + offsets
            total += tl.load(parts, mask=inside, other=0.0, cache_modifier=".cg")
        tl.store(output_ptr + offsets, total.to(tl.float16), mask=inside)
        tl.store(counter_ptr + tile, 0)


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    tiles = triton.cdiv(m, 64) * triton.cdiv(n, 64)
    if (tiles, a.device) not in COUNTERS:
        COUNTERS[tiles, a.device] = torch.zeros(tiles, dtype=torch.int32, device=a.device)
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    parts = torch.empty((4, m, n), dtype=torch.float32, device=a.device)
    counter = COUNTERS[tiles, a.device]
    matmul_kernel[(tiles, 4)](a, b, output, parts, counter, m, n, k, BLOCK=64)
    return output
