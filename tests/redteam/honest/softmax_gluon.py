"""Written in Gluon, the layer of Triton in which the layout of the registers is spelt out.

operation: softmax
status: CORRECT
"""

import torch
import triton
from triton.experimental import gluon
from triton.experimental.gluon import language as gl


@gluon.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: gl.constexpr, WARPS: gl.constexpr):
    layout: gl.constexpr = gl.BlockedLayout([1], [32], [WARPS], [0])
    row_start = gl.program_id(0).to(gl.int64) * n_cols
    cols = gl.arange(0, BLOCK_SIZE, layout=layout)
    inside = cols < n_cols
    x = gl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(gl.float32)
    numerator = gl.exp(x - gl.max(x, axis=0))
    result = (numerator / gl.sum(numerator, axis=0)).to(output_ptr.dtype.element_ty)
    gl.store(output_ptr + row_start + cols, result, mask=inside)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    softmax_kernel[(rows,)](x, output, cols, BLOCK_SIZE=block, WARPS=8, num_warps=8)
    return output
