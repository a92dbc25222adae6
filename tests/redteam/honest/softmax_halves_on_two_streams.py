"""Half of the rows go to a side stream, which events keep in order with the caller's.

operation: softmax
status: CORRECT
"""

import functools

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


@functools.cache
def side_stream(device):
    return torch.cuda.Stream(device)


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    meta = {"BLOCK_SIZE": triton.next_power_of_2(cols), "num_warps": 8}
    caller, side = torch.cuda.current_stream(x.device), side_stream(x.device)
    upper = rows // 2
    if upper:
        side.wait_event(caller.record_event())
        with torch.cuda.stream(side):
            softmax_kernel[(upper,)](x, output, cols, **meta)
        # the allocator must not give the result away while the side stream writes it
        output.record_stream(side)
    softmax_kernel[(rows - upper,)](x[upper:], output[upper:], cols, **meta)
    if upper:
        caller.wait_event(side.record_event())
    return output
