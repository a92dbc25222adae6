"""A fixed number of programs that hold weight and bias in registers for all of their rows.

operation: layer_norm
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def layer_norm_kernel(
    x_ptr, weight_ptr, bias_ptr, output_ptr, n_rows, n_cols, eps, BLOCK_SIZE: tl.constexpr
):
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    weight = tl.load(weight_ptr + cols, mask=inside).to(tl.float32)
    bias = tl.load(bias_ptr + cols, mask=inside).to(tl.float32)
    row = tl.program_id(0).to(tl.int64)
    while row < n_rows:
        x = tl.load(x_ptr + row * n_cols + cols, mask=inside, other=0.0).to(tl.float32)
        centred = tl.where(inside, x - tl.sum(x, axis=0) / n_cols, 0.0)
        scale = tl.rsqrt(tl.sum(centred * centred, axis=0) / n_cols + eps)
        tl.store(output_ptr + row * n_cols + cols, centred * scale * weight + bias, mask=inside)
        row += tl.num_programs(0)


def layer_norm(x, weight, bias, eps=1e-5):
    rows, cols = x.shape
    output = torch.empty_like(x)
    programs = 4
    if x.is_cuda:
        programs = 2 * torch.cuda.get_device_properties(x.device).multi_processor_count
    block = triton.next_power_of_2(cols)
    layer_norm_kernel[(min(rows, programs),)](
        x, weight, bias, output, rows, cols, eps, BLOCK_SIZE=block, num_warps=8
    )
    return output
