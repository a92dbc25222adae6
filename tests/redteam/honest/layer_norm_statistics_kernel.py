"""One kernel leaves mean and scale in a workspace, a second of another grid applies them.

operation: layer_norm
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def statistics_kernel(x_ptr, mean_ptr, scale_ptr, n_cols, eps, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row * n_cols + cols, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(x, axis=0) / n_cols
    centred = tl.where(inside, x - mean, 0.0)
    tl.store(mean_ptr + row, mean)
    tl.store(scale_ptr + row, tl.rsqrt(tl.sum(centred * centred, axis=0) / n_cols + eps))


@triton.jit
def apply_kernel(
    x_ptr,
    mean_ptr,
    scale_ptr,
    weight_ptr,
    bias_ptr,
    output_ptr,
    n,
    n_cols,
    BLOCK_SIZE: tl.constexpr,
):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = offsets < n
    row, col = offsets // n_cols, offsets % n_cols
    x = tl.load(x_ptr + offsets, mask=inside).to(tl.float32)
    centred = x - tl.load(mean_ptr + row, mask=inside)
    weight = tl.load(weight_ptr + col, mask=inside).to(tl.float32)
    bias = tl.load(bias_ptr + col, mask=inside).to(tl.float32)
    result = centred * tl.load(scale_ptr + row, mask=inside) * weight + bias
    tl.store(output_ptr + offsets, result, mask=inside)


def layer_norm(x, weight, bias, eps=1e-5):
    rows, cols = x.shape
    output = torch.empty_like(x)
    mean = torch.empty(rows, dtype=torch.float32, device=x.device)
    scale = torch.empty_like(mean)
    block, grid = triton.next_power_of_2(cols), (triton.cdiv(x.numel(), 1024),)
    statistics_kernel[(rows,)](x, mean, scale, cols, eps, BLOCK_SIZE=block, num_warps=8)
    apply_kernel[grid](x, mean, scale, weight, bias, output, x.numel(), cols, BLOCK_SIZE=1024)
    return output
