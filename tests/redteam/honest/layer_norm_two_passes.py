"""Three loops over blocks of the row: the mean, the variance about it, the result.

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
    sums = tl.zeros((BLOCK_SIZE,), tl.float32)
    for start in range(0, n_cols, BLOCK_SIZE):
        cols = start + offsets
        sums += tl.load(x_ptr + row_start + cols, mask=cols < n_cols, other=0.0).to(tl.float32)
    mean = tl.sum(sums, axis=0) / n_cols
    squares = tl.zeros((BLOCK_SIZE,), tl.float32)
    for start in range(0, n_cols, BLOCK_SIZE):
        cols = start + offsets
        x = tl.load(x_ptr + row_start + cols, mask=cols < n_cols, other=0.0).to(tl.float32)
        centred = tl.where(cols < n_cols, x - mean, 0.0)
        squares += centred * centred
    scale = tl.rsqrt(tl.sum(squares, axis=0) / n_cols + eps)
    for start in range(0, n_cols, BLOCK_SIZE):
        cols = start + offsets
        inside = cols < n_cols
        x = tl.load(x_ptr + row_start + cols, mask=inside).to(tl.float32)
        weight = tl.load(weight_ptr + cols, mask=inside).to(tl.float32)
        bias = tl.load(bias_ptr + cols, mask=inside).to(tl.float32)
        tl.store(output_ptr + row_start + cols, (x - mean) * scale * weight + bias, mask=inside)


def layer_norm(x, weight, bias, eps=1e-5):
    output = torch.empty_like(x)
    layer_norm_kernel[(x.shape[0],)](
        x, weight, bias, output, x.shape[1], eps, BLOCK_SIZE=1024, num_warps=4
    )
    return output
