"""Layer norm over the rows of a matrix, tuned for Hopper without autotuning.

A row of up to 16,384 columns (8,192 where it is no multiple of 16) is read once and stays in
registers beside its weight and bias; a longer one is read twice, the second time mostly from the
L2. The variance is that of centred values, never a difference of means. Computes in float32 and
stores in the input's dtype.
Does not cover a few very long rows well: a row is never split over programs.
"""

import torch
import triton
import triton.language as tl

# the longest row that one block of 16 warps holds in registers beside weight and bias, as float32
# and without spilling
MAX_RESIDENT_COLS = 16_384

# the same where the columns are no multiple of 16: every element then has a mask of its own
MAX_RESIDENT_ODD_COLS = 8192

# enough rows for weight and bias to be read once for several short ones
TILE_BYTES = 8192

# a block of a long row; 32 warps of more than 32 registers leave room for one row per SM at a
# time, so that all the rows under way (132 of 256 KiB) stay in the L2 until their second read
LONG_ROW_BLOCK_SIZE = 16_384


@triton.jit
def layer_norm_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    output_ptr,
    n_rows,
    n_cols,
    eps,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """Layer norm of BLOCK_ROWS whole rows held in registers."""
    # 64 bits: rows times columns may exceed 2**31
    rows = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    cols = tl.arange(0, BLOCK_COLS)
    offsets = rows[:, None] * n_cols + cols[None, :]  # [BLOCK_ROWS, BLOCK_COLS]
    inside_row = cols < n_cols
    inside = inside_row[None, :]
    if BLOCK_ROWS > 1:
        inside = inside & (rows[:, None] < n_rows)
    x = tl.load(x_ptr + offsets, mask=inside, other=0.0, eviction_policy="evict_first")
    x = x.to(tl.float32)
    # every program reads these two, so they are worth their place in the L1
    weight = tl.load(weight_ptr + cols, mask=inside_row, other=0.0, eviction_policy="evict_last")
    bias = tl.load(bias_ptr + cols, mask=inside_row, other=0.0, eviction_policy="evict_last")
    # correctly rounded, since an error of the mean is magnified where it is large beside the spread
    mean = tl.div_rn(tl.sum(x, axis=1), tl.cast(n_cols, tl.float32))
    centred = tl.where(inside, x - mean[:, None], 0.0)
    variance = tl.sum(centred * centred, axis=1) / n_cols
    normalised = centred * tl.rsqrt(variance + eps)[:, None]
    output = normalised * weight.to(tl.float32)[None, :] + bias.to(tl.float32)[None, :]
    tl.store(output_ptr + offsets, output, mask=inside)


@triton.jit
def long_row_layer_norm_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    output_ptr,
    n_cols,
    eps,
    BLOCK_SIZE: tl.constexpr,
):
    """Layer norm of one row in blocks, whose means and squared deviations are merged."""
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    x_ptr += row_start
    output_ptr += row_start
    n_blocks = tl.cdiv(n_cols, BLOCK_SIZE)
    mean = 0.0
    squares = 0.0  # sum of squared deviations from the mean so far
    for block in range(n_blocks):
        start = block * BLOCK_SIZE
        cols = start + tl.arange(0, BLOCK_SIZE)
        inside = cols < n_cols
        x = tl.load(x_ptr + cols, mask=inside, other=0.0, eviction_policy="evict_last")
        x = x.to(tl.float32)
        count = tl.cast(tl.minimum(n_cols - start, BLOCK_SIZE), tl.float32)
        block_mean = tl.div_rn(tl.sum(x, axis=0), count)
        centred = tl.where(inside, x - block_mean, 0.0)
        step = block_mean - mean
        share = count / (start + count)
        squares += tl.sum(centred * centred, axis=0) + step * step * start * share
        mean += step * share
    rstd = tl.rsqrt(squares / n_cols + eps)
    # backwards: the block that was read last is the likeliest to be in the L2 still
    for step_back in range(n_blocks):
        cols = (n_blocks - 1 - step_back) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        inside = cols < n_cols
        x = tl.load(x_ptr + cols, mask=inside, other=0.0, eviction_policy="evict_first")
        weight = tl.load(weight_ptr + cols, mask=inside, other=0.0, eviction_policy="evict_last")
        bias = tl.load(bias_ptr + cols, mask=inside, other=0.0, eviction_policy="evict_last")
        normalised = (x.to(tl.float32) - mean) * rstd
        output = normalised * weight.to(tl.float32) + bias.to(tl.float32)
        tl.store(output_ptr + cols, output, mask=inside, eviction_policy="evict_first")


def layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5
) -> torch.Tensor:
    """Layer norm of each row of x [rows, cols], float32, float16 or bfloat16."""
    x = x.contiguous()
    weight = weight.contiguous()
    bias = bias.contiguous()
    n_rows, n_cols = x.shape
    output = torch.empty_like(x)
    if n_cols > (MAX_RESIDENT_COLS if n_cols % 16 == 0 else MAX_RESIDENT_ODD_COLS):
        long_row_layer_norm_kernel[(n_rows,)](
            x, weight, bias, output, n_cols, eps, BLOCK_SIZE=LONG_ROW_BLOCK_SIZE, num_warps=32
        )
        return output
    block_cols = triton.next_power_of_2(n_cols)
    block_rows = max(1, TILE_BYTES // (block_cols * x.element_size()))
    layer_norm_kernel[(triton.cdiv(n_rows, block_rows),)](
        x,
        weight,
        bias,
        output,
        n_rows,
        n_cols,
        eps,
        BLOCK_ROWS=block_rows,
        BLOCK_COLS=block_cols,
        # 16 values a thread until a block has as many threads as leave room for a second one
        num_warps=min(max(block_rows * block_cols // 512, 4), 16),
    )
    return output
