"""Works on the transposed view, down its columns by its strides, and writes through another view.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import triton
import triton.language as tl


@triton.jit
def column_softmax_kernel(
    x_ptr, output_ptr, n_items, item_stride, vector_stride, BLOCK_SIZE: tl.constexpr
):
    items = tl.arange(0, BLOCK_SIZE)
    inside = items < n_items
    offsets = tl.program_id(0).to(tl.int64) * vector_stride + items * item_stride
    x = tl.load(x_ptr + offsets, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + offsets, numerator / tl.sum(numerator, axis=0), mask=inside)


def softmax_of_columns(x, output):
    items, vectors = x.shape
    block = triton.next_power_of_2(items)
    column_softmax_kernel[(vectors,)](
        x, output, items, x.stride(0), x.stride(1), BLOCK_SIZE=block, num_warps=8
    )


def softmax(x):
    output = x.new_empty(x.shape)
    softmax_of_columns(x.contiguous().t(), output.t())
    return output.reshape(x.shape)
