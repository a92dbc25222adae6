"""Written as many people would: types everywhere, long docstrings and a settings object.

operation: layer_norm
status: CORRECT
interpreter: CORRECT
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl


@triton.jit
def layer_norm_kernel(
    x_ptr, weight_ptr, bias_ptr, output_ptr, n_cols: int, eps: float, BLOCK_SIZE: tl.constexpr
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


class Settings(NamedTuple):
    """How a row of some length is computed."""

    BLOCK_SIZE: int
    num_warps: int


def settings_for(cols: int) -> Settings:
    """Choose the block, and one warp for each 256 columns."""
    block = triton.next_power_of_2(cols)
    return Settings(BLOCK_SIZE=block, num_warps=min(max(block // 256, 1), 16))


def layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5
) -> torch.Tensor:
    """Return (x - mean) / sqrt(variance + eps) * weight + bias for each row.

    The variance is the mean of the squared distances from the mean. Everything is computed in
    float32, whatever the dtype of the input, and rounded once.
    """
    (rows, cols), output = x.shape, torch.empty_like(x)
    settings = settings_for(cols)
    layer_norm_kernel[(rows,)](x, weight, bias, output, cols, eps, **settings._asdict())
    return output
