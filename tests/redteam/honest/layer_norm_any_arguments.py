"""Takes *args and **kwargs, checks them, and catches no error but one of its own.

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


def checked(x, weight, bias, eps=1e-5):
    if x.ndim != 2 or weight.shape != bias.shape:
        raise ValueError("layer_norm takes a matrix and two vectors")
    try:
        assert weight.numel() == x.size(-1), "as many weights as columns"
    except AssertionError as error:
        raise ValueError(str(error)) from error
    return x.contiguous(), weight.contiguous(), bias.contiguous(), float(eps)


def layer_norm(*args, **kwargs):
    x, weight, bias, eps = checked(*args, **kwargs)
    output = torch.empty(x.size(), dtype=x.dtype, device=x.device, layout=x.layout)
    block = triton.next_power_of_2(x.size(1))
    layer_norm_kernel[(x.size(0),)](x, weight, bias, output, x.size(1), eps, block, num_warps=8)
    return output
