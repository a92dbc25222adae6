"""Matrix product of two float16 matrices on Hopper's tensor cores, without autotuning.

Accumulates in float32 over all of k. Does not cover split-K (a product with a long k and a small
result leaves most SMs idle) and tensor memory descriptors, which want aligned strides: odd strides
are served by smaller tiles and narrow loads, several times slower.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl


class Tile(NamedTuple):
    """What one program computes, and with what."""

    block_m: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int


# an H200 has 132 SMs; a grid of fewer tiles than this would leave too many of them idle
ENOUGH_TILES = 112

# the largest first: of those that give enough tiles it reads the least per result
ROOMY_TILES = (
    Tile(128, 256, 64, num_warps=8, num_stages=4),
    Tile(128, 128, 64, num_warps=8, num_stages=4),
    Tile(64, 128, 64, num_warps=4, num_stages=4),
    Tile(64, 64, 64, num_warps=4, num_stages=4),
)

# the stages of the largest; an SM of Hopper has 228 KiB, of other GPUs 100 or 164
ROOMY_SHARED_BYTES = 192 * 1024

# these fit 99 KiB, and do not spill where odd strides forbid wide loads
SMALLER_TILES = (
    Tile(128, 128, 32, num_warps=8, num_stages=4),
    Tile(64, 64, 32, num_warps=4, num_stages=4),
)

# row blocks that go over the columns of b together, so that b's are found in the L2
GROUP_M = 8


@triton.jit
def matmul_kernel(
    a_ptr,
    b_ptr,
    output_ptr,
    m,
    n,
    k,
    EVEN_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    """One tile of the product, over all of k."""
    pid = tl.program_id(0)
    m_blocks = tl.cdiv(m, BLOCK_M)
    n_blocks = tl.cdiv(n, BLOCK_N)
    first_m = pid // (GROUP_M * n_blocks) * GROUP_M
    group_rows = tl.minimum(m_blocks - first_m, GROUP_M)
    in_group = pid % (GROUP_M * n_blocks)
    rows = (first_m + in_group % group_rows) * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = in_group // group_rows * BLOCK_N + tl.arange(0, BLOCK_N)
    depth = tl.arange(0, BLOCK_K)
    inside_rows = rows[:, None] < m
    inside_cols = cols[None, :] < n
    # 64 bits: a matrix may hold more than 2**31 elements
    a_ptrs = a_ptr + rows[:, None].to(tl.int64) * k + depth[None, :]  # [BLOCK_M, BLOCK_K]
    b_ptrs = b_ptr + depth[:, None].to(tl.int64) * n + cols[None, :]  # [BLOCK_K, BLOCK_N]
    b_step = BLOCK_K * tl.cast(n, tl.int64)
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        # without a tail the masks stay the same over the loop
        if EVEN_K:
            a = tl.load(a_ptrs, mask=inside_rows, other=0.0)
            b = tl.load(b_ptrs, mask=inside_cols, other=0.0)
        else:
            a = tl.load(a_ptrs, mask=inside_rows & (depth[None, :] < k - start), other=0.0)
            b = tl.load(b_ptrs, mask=inside_cols & (depth[:, None] < k - start), other=0.0)
        accumulator = tl.dot(a, b, accumulator)
        a_ptrs += BLOCK_K
        b_ptrs += b_step
    output_ptrs = output_ptr + rows[:, None].to(tl.int64) * n + cols[None, :]
    tl.store(output_ptrs, accumulator.to(tl.float16), mask=inside_rows & inside_cols)


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Product of a [m, k] and b [k, n], both float16, accumulated in float32."""
    a = a.contiguous()
    b = b.contiguous()
    (m, k), n = a.shape, b.shape[1]
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    tile = _tile_for(a.device, m, n, k)
    matmul_kernel[(_tile_count(tile, m, n),)](
        a,
        b,
        output,
        m,
        n,
        k,
        EVEN_K=k % tile.block_k == 0,
        BLOCK_M=tile.block_m,
        BLOCK_N=tile.block_n,
        BLOCK_K=tile.block_k,
        GROUP_M=GROUP_M,
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return output


def _tile_for(device: torch.device, m: int, n: int, k: int) -> Tile:
    tiles = SMALLER_TILES
    # triton issues 16-byte loads only where it knows the strides for multiples of 16
    if device.type == "cuda" and n % 16 == 0 and k % 16 == 0:
        properties = torch.cuda.get_device_properties(device)
        if properties.shared_memory_per_multiprocessor > ROOMY_SHARED_BYTES:
            tiles = ROOMY_TILES
    return next((tile for tile in tiles if _tile_count(tile, m, n) >= ENOUGH_TILES), tiles[-1])


def _tile_count(tile: Tile, m: int, n: int) -> int:
    return triton.cdiv(m, tile.block_m) * triton.cdiv(n, tile.block_n)
