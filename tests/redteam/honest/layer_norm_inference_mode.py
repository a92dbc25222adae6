"""Runs in inference mode, so that its result is an inference tensor.

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
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + cols, mask=inside).to(tl.float32)
    bias = tl.load(bias_ptr + cols, mask=inside).to(tl.float32)
    centred = tl.where(inside, x - tl.sum(x, axis=0) / n_cols, 0.0)
    variance = tl.sum(centred * centred, axis=0) / n_cols
    result = centred * tl.rsqrt(variance + eps) * weight + bias
    tl.store(output_ptr + row_start + cols, result, mask=inside)


@torch.inference_mode()
def layer_norm(x, weight, bias, eps=1e-5):
    rows, cols = x.shape
    output = torch.empty_like(x)
    layer_norm_kernel[(rows,)](
        x, weight, bias, output, cols, eps, BLOCK_SIZE=triton.next_power_of_2(cols), num_warps=8
    )
    return output
