"""Tunes the block of its loops and keeps the choice, so that two calls give the same bits.

operation: layer_norm
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.autotune(
    [triton.Config({"BLOCK_SIZE": block}, num_warps=block // 256) for block in (1024, 2048, 4096)],
    key=["n_cols"],
)
@triton.jit
def layer_norm_kernel(
    x_ptr, weight_ptr, bias_ptr, output_ptr, n_cols, eps, BLOCK_SIZE: tl.constexpr
):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    offsets = tl.arange(0, BLOCK_SIZE)
    sums = tl.zeros((BLOCK_SIZE,), tl.float32)
    for start in range(0, n_cols, BLOCK_SIZE):
        inside = start + offsets < n_cols
        x = tl.load(x_ptr + row_start + start + offsets, mask=inside, other=0.0)
        sums += x.to(tl.float32)
    mean = tl.sum(sums, axis=0) / n_cols
    sums *= 0.0
    for start in range(0, n_cols, BLOCK_SIZE):
        inside = start + offsets < n_cols
        x = tl.load(x_ptr + row_start + start + offsets, mask=inside, other=0.0)
        centred = tl.where(inside, x.to(tl.float32) - mean, 0.0)
        sums += centred * centred
    scale = tl.rsqrt(tl.sum(sums, axis=0) / n_cols + eps)
    for start in range(0, n_cols, BLOCK_SIZE):
        cols = start + offsets
        inside = cols < n_cols
        x = tl.load(x_ptr + row_start + cols, mask=inside).to(tl.float32)
        weight = tl.load(weight_ptr + cols, mask=inside).to(tl.float32)
        bias = tl.load(bias_ptr + cols, mask=inside).to(tl.float32)
        tl.store(output_ptr + row_start + cols, (x - mean) * scale * weight + bias, mask=inside)


def layer_norm(x, weight, bias, eps=1e-5):
    output = torch.empty_like(x)
    layer_norm_kernel[(x.shape[0],)](x, weight, bias, output, x.shape[1], eps)
    return output
