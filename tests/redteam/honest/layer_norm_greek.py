"""Names its variables by Greek letters, as papers do.

operation: layer_norm
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def layer_norm_kernel(x_ptr, γ_ptr, β_ptr, output_ptr, n_cols, ε, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=0.0).to(tl.float32)
    μ = tl.sum(x, axis=0) / n_cols
    δ = tl.where(inside, x - μ, 0.0)
    σ = tl.sqrt(tl.sum(δ * δ, axis=0) / n_cols + ε)  # σ² is the mean of δ²
    γ = tl.load(γ_ptr + cols, mask=inside).to(tl.float32)
    β = tl.load(β_ptr + cols, mask=inside).to(tl.float32)
    tl.store(output_ptr + row_start + cols, δ / σ * γ + β, mask=inside)


def layer_norm(x, weight, bias, eps=1e-5):
    rows, cols = x.shape
    output = torch.empty_like(x)
    layer_norm_kernel[(rows,)](
        x, weight, bias, output, cols, eps, BLOCK_SIZE=triton.next_power_of_2(cols), num_warps=8
    )
    return output
