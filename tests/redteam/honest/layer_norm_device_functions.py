"""Three device functions of the file do the work, one of them never inlined.

operation: layer_norm
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def load(base_ptr, offsets, inside):
    return tl.load(base_ptr + offsets, mask=inside, other=0.0).to(tl.float32)


@triton.jit(noinline=True)
def inverse_deviation(squares, n_cols, eps):
    return tl.rsqrt(squares / n_cols + eps)


@triton.jit
def centre(x, inside, n_cols):
    return tl.where(inside, x - tl.sum(x, axis=0) / n_cols, 0.0)


@triton.jit
def layer_norm_kernel(
    x_ptr, weight_ptr, bias_ptr, output_ptr, n_cols, eps, BLOCK_SIZE: tl.constexpr
):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    centred = centre(load(x_ptr, row_start + cols, inside), inside, n_cols)
    scale = inverse_deviation(tl.sum(centred * centred, axis=0), n_cols, eps)
    weight, bias = load(weight_ptr, cols, inside), load(bias_ptr, cols, inside)
    tl.store(output_ptr + row_start + cols, centred * scale * weight + bias, mask=inside)


def layer_norm(x, weight, bias, eps=1e-5):
    rows, cols = x.shape
    output = torch.empty_like(x)
    layer_norm_kernel[(rows,)](
        x, weight, bias, output, cols, eps, BLOCK_SIZE=triton.next_power_of_2(cols), num_warps=8
    )
    return output
