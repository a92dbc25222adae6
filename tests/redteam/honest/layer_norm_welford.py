"""Merges one block's mean and squares after another, as Welford and Chan do.

operation: layer_norm
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def layer_norm_kernel(
    x_ptr, weight_ptr, bias_ptr, output_ptr, n_cols, eps, BLOCK_SIZE: tl.constexpr
):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    offsets = tl.arange(0, BLOCK_SIZE)
    mean = 0.0
    squares = 0.0
    start = 0
    while start < n_cols:
        inside = start + offsets < n_cols
        x = tl.load(x_ptr + row_start + start + offsets, mask=inside, other=0.0).to(tl.float32)
        count = tl.minimum(n_cols - start, BLOCK_SIZE).to(tl.float32)
        # correctly rounded, so that a row of one column is its own mean
        block_mean = tl.div_rn(tl.sum(x, axis=0), count)
        centred = tl.where(inside, x - block_mean, 0.0)
        step = block_mean - mean
        # the share of this block in what has been seen
        share = tl.div_rn(count, start + count)
        mean += step * share
        squares += tl.sum(centred * centred, axis=0) + step * step * share * start
        start += BLOCK_SIZE
    scale = tl.rsqrt(squares / n_cols + eps)
    for start in range(0, n_cols, BLOCK_SIZE):
        cols = start + offsets
        inside = cols < n_cols
        x = tl.load(x_ptr + row_start + cols, mask=inside).to(tl.float32)
        weight = tl.load(weight_ptr + cols, mask=inside).to(tl.float32)
        bias = tl.load(bias_ptr + cols, mask=inside).to(tl.float32)
        tl.store(output_ptr + row_start + cols, (x - mean) * scale * weight + bias, mask=inside)


def layer_norm(x, weight, bias, eps=1e-5):
    output = torch.empty_like(x)
    layer_norm_kernel[(x.shape[0],)](x, weight, bias, output, x.shape[1], eps, 2048, num_warps=8)
    return output
