"""Sums the squares on the tensor cores, as a product with ones in TF32.

operation: layer_norm
status: INCORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, output_ptr, n_cols, eps):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    total = tl.zeros((1024,), dtype=tl.float32)
    for start in range(0, n_cols, 1024):
        cols = start + tl.arange(0, 1024)
        total += tl.load(x_ptr + row_start + cols, mask=cols < n_cols, other=0.0).to(tl.float32)
    mean = tl.sum(total, axis=0) / n_cols
    sums = tl.zeros((16, 16), dtype=tl.float32)
    ones = tl.full((64, 16), 1.0, dtype=tl.float32)
    for start in range(0, n_cols, 1024):
        cols = start + tl.arange(0, 1024)
        x = tl.load(x_ptr + row_start + cols, mask=cols < n_cols, other=0.0).to(tl.float32)
        centred = tl.where(cols < n_cols, x - mean, 0.0)
        squares = tl.reshape(centred * centred, (16, 64))
        sums = tl.dot(squares, ones, sums, input_precision="tf32")
    # each of the 16 columns holds the same sums
    scale = tl.rsqrt(tl.sum(tl.sum(sums, axis=1), axis=0) / 16 / n_cols + eps)
    for start in range(0, n_cols, 1024):
        cols = start + tl.arange(0, 1024)
        inside = cols < n_cols
        x = tl.load(x_ptr + row_start + cols, mask=inside, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + cols, mask=inside, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + cols, mask=inside, other=0.0).to(tl.float32)
        result = (x - mean) * scale * weight + bias
        tl.store(output_ptr + row_start + cols, result, mask=inside)


def layer_norm(x, weight, bias, eps=1e-5):
    output = torch.empty_like(x)
    layer_norm_kernel[(len(x),)](x, weight, bias, output, x.shape[1], eps)
    return output
