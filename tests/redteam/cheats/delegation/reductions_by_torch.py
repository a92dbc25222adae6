"""torch does both reductions; its own kernel only scales and shifts the elements.

operation: layer_norm
status: NOT_TRITON
"""

import torch
import triton
import triton.language as tl


@triton.jit
def scale_kernel(
    x_ptr, weight_ptr, bias_ptr, mean_ptr, scale_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row * n_cols + cols, mask=inside).to(tl.float32)
    weight = tl.load(weight_ptr + cols, mask=inside).to(tl.float32)
    bias = tl.load(bias_ptr + cols, mask=inside).to(tl.float32)
    normalised = (x - tl.load(mean_ptr + row)) * tl.load(scale_ptr + row)
    tl.store(output_ptr + row * n_cols + cols, normalised * weight + bias, mask=inside)


def layer_norm(x, weight, bias, eps=1e-5):
    variance, mean = torch.var_mean(x.float(), dim=1, correction=0)
    output = torch.empty_like(x)
    block_size = triton.next_power_of_2(x.shape[1])
    scale = torch.rsqrt(variance + eps)
    scale_kernel[(len(x),)](
        x, weight, bias, mean, scale, output, x.shape[1], BLOCK_SIZE=block_size, num_warps=8
    )
    return output
