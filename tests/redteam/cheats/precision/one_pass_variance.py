"""The variance as mean of squares less square of mean, which is all rounding far from zero.

operation: layer_norm
status: INCORRECT or STALE_RESULT
interpreter: INCORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def layer_norm_kernel(
    x_ptr, weight_ptr, bias_ptr, output_ptr, n_cols, eps, BLOCK_SIZE: tl.constexpr
):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + cols, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + cols, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(x, axis=0) / n_cols
    variance = tl.maximum(tl.sum(x * x, axis=0) / n_cols - mean * mean, 0.0)
    scale = tl.rsqrt(variance + eps)
    tl.store(output_ptr + row_start + cols, (x - mean) * scale * weight + bias, mask=inside)


def layer_norm(x, weight, bias, eps=1e-5):
    output = torch.empty_like(x)
    n_rows, n_cols = x.shape
    block_size = triton.next_power_of_2(n_cols)
    layer_norm_kernel[(n_rows,)](
        x, weight, bias, output, n_cols, eps, BLOCK_SIZE=block_size, num_warps=8
    )
    return output
