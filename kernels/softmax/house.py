"""Softmax over the rows of a matrix, tuned for Hopper without autotuning.

A row of up to 32,768 columns (16,384 where it is no multiple of 16) is read once and stays in
registers; a longer one is read twice, the second time mostly from the L2. Computes in float32 and
stores in the input's dtype.
Does not cover a few very long rows well: a row is never split over programs.
"""

import torch
import triton
import triton.language as tl

# the most float32 values of a row that one block of 16 warps holds in registers without spilling
MAX_RESIDENT_COLS = 32_768

# the same where the columns are no multiple of 16: every element then has a mask of its own
MAX_RESIDENT_ODD_COLS = 16_384

# two 16-byte loads for each thread of four warps
TILE_BYTES = 4096

# a block of a long row; 32 warps of more than 32 registers leave room for one row per SM at a
# time, so that all the rows under way (132 of 256 KiB) stay in the L2 until their second read
LONG_ROW_BLOCK_SIZE = 32_768
LONG_ODD_ROW_BLOCK_SIZE = 16_384


@triton.jit
def softmax_kernel(
    x_ptr,
    output_ptr,
    n_rows,
    n_cols,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """Softmax of BLOCK_ROWS whole rows held in registers."""
    # 64 bits: rows times columns may exceed 2**31
    rows = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    cols = tl.arange(0, BLOCK_COLS)
    offsets = rows[:, None] * n_cols + cols[None, :]  # [BLOCK_ROWS, BLOCK_COLS]
    inside = cols[None, :] < n_cols
    if BLOCK_ROWS > 1:
        inside = inside & (rows[:, None] < n_rows)
    x = tl.load(x_ptr + offsets, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=1)[:, None])
    denominator = tl.sum(numerator, axis=1)[:, None]
    tl.store(output_ptr + offsets, numerator / denominator, mask=inside)


@triton.jit
def long_row_softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    """Softmax of one row in blocks, with a running maximum and sum."""
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    x_ptr += row_start
    output_ptr += row_start
    n_blocks = tl.cdiv(n_cols, BLOCK_SIZE)
    row_max = -float("inf")
    denominator = 0.0
    for block in range(n_blocks):
        cols = block * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        x = tl.load(
            x_ptr + cols,
            mask=cols < n_cols,
            other=-float("inf"),
            eviction_policy="evict_last",
        ).to(tl.float32)
        new_max = tl.maximum(row_max, tl.max(x, axis=0))
        # while everything so far is -inf, its own maximum would make NaN of -inf minus -inf
        shift = tl.where(new_max == -float("inf"), 0.0, new_max)
        denominator = denominator * tl.exp(row_max - shift) + tl.sum(tl.exp(x - shift), axis=0)
        row_max = new_max
    # backwards: the block that was read last is the likeliest to be in the L2 still
    for step in range(n_blocks):
        cols = (n_blocks - 1 - step) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        inside = cols < n_cols
        x = tl.load(
            x_ptr + cols,
            mask=inside,
            other=-float("inf"),
            eviction_policy="evict_first",
        ).to(tl.float32)
        softmax = tl.exp(x - row_max) / denominator
        tl.store(output_ptr + cols, softmax, mask=inside, eviction_policy="evict_first")


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Softmax over each row of x [rows, cols], float32, float16 or bfloat16."""
    x = x.contiguous()
    n_rows, n_cols = x.shape
    output = torch.empty_like(x)
    odd = n_cols % 16 != 0
    if n_cols > (MAX_RESIDENT_ODD_COLS if odd else MAX_RESIDENT_COLS):
        long_row_softmax_kernel[(n_rows,)](
            x,
            output,
            n_cols,
            BLOCK_SIZE=LONG_ODD_ROW_BLOCK_SIZE if odd else LONG_ROW_BLOCK_SIZE,
            num_warps=32,
        )
        return output
    block_cols = triton.next_power_of_2(n_cols)
    block_rows = max(1, TILE_BYTES // (block_cols * x.element_size()))
    softmax_kernel[(triton.cdiv(n_rows, block_rows),)](
        x,
        output,
        n_rows,
        n_cols,
        BLOCK_ROWS=block_rows,
        BLOCK_COLS=block_cols,
        # 16 values a thread until a block has as many threads as leave room for a second one
        num_warps=min(max(block_rows * block_cols // 512, 4), 16),
    )
    return output
