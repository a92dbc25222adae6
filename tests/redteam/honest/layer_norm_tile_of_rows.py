"""Several short rows are one tile, and a three-dimensional view of the input changes nothing.

operation: layer_norm
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


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
    rows = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    cols = tl.arange(0, BLOCK_COLS)[None, :]
    inside = (rows < n_rows) & (cols < n_cols)
    x = tl.load(x_ptr + rows * n_cols + cols, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + cols, mask=cols < n_cols).to(tl.float32)
    bias = tl.load(bias_ptr + cols, mask=cols < n_cols).to(tl.float32)
    centred = tl.where(inside, x - tl.sum(x, axis=1, keep_dims=True) / n_cols, 0.0)
    variance = tl.sum(centred * centred, axis=1, keep_dims=True) / n_cols
    result = centred * tl.rsqrt(variance + eps) * weight + bias
    tl.store(output_ptr + rows * n_cols + cols, result, mask=inside)


def layer_norm(x, weight, bias, eps=1e-5):
    x = x[None].view(-1, x.shape[-1]).contiguous()
    rows, cols = x.shape
    output = torch.empty_like(x)
    block_cols = triton.next_power_of_2(cols)
    block_rows = max(1, 4096 // block_cols)
    grid = (triton.cdiv(rows, block_rows),)
    layer_norm_kernel[grid](
        x, weight, bias, output, rows, cols, eps, block_rows, block_cols, num_warps=8
    )
    return output
