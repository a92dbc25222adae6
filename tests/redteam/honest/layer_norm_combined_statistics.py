"""Mean and squares in one reduction over triples, by a combining function of its own.

operation: layer_norm
status: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def combine(count_a, mean_a, squares_a, count_b, mean_b, squares_b):
    count = count_a + count_b
    share = tl.where(count == 0.0, 0.0, count_b / tl.maximum(count, 1.0))
    step = mean_b - mean_a
    squares = squares_a + squares_b + step * step * count_a * share
    return count, mean_a + step * share, squares


@triton.jit
def layer_norm_kernel(
    x_ptr, weight_ptr, bias_ptr, output_ptr, n_cols, eps, BLOCK_SIZE: tl.constexpr
):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=0.0).to(tl.float32)
    count = inside.to(tl.float32)
    _, mean, squares = tl.reduce((count, x, tl.zeros_like(x)), 0, combine)
    weight = tl.load(weight_ptr + cols, mask=inside).to(tl.float32)
    bias = tl.load(bias_ptr + cols, mask=inside).to(tl.float32)
    result = (x - mean) * tl.rsqrt(squares / n_cols + eps) * weight + bias
    tl.store(output_ptr + row_start + cols, result, mask=inside)


def layer_norm(x, weight, bias, eps=1e-5):
    rows, cols = x.shape
    output = torch.empty_like(x)
    layer_norm_kernel[(rows,)](
        x, weight, bias, output, cols, eps, BLOCK_SIZE=triton.next_power_of_2(cols), num_warps=8
    )
    return output
