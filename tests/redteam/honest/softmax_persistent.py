"""As many programs as the GPU has multiprocessors; each goes over its share of the rows.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(
    x_ptr, output_ptr, n_rows, n_cols, BLOCK_SIZE: tl.constexpr, STAGES: tl.constexpr
):
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    for row in tl.range(tl.program_id(0), n_rows, tl.num_programs(0), num_stages=STAGES):
        row_start = tl.cast(row, tl.int64) * n_cols
        x = tl.load(x_ptr + row_start + cols, mask=inside, other=-float("inf")).to(tl.float32)
        numerator = tl.exp(x - tl.max(x, axis=0))
        tl.store(output_ptr + row_start + cols, numerator / tl.sum(numerator, axis=0), mask=inside)


def program_count(x):
    if not x.is_cuda:
        return 4
    return torch.cuda.get_device_properties(x.device).multi_processor_count


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block = triton.next_power_of_2(cols)
    # two stages of a longer row would not fit the shared memory
    stages = 2 if block <= 8192 else 1
    softmax_kernel[(min(rows, program_count(x)),)](
        x, output, rows, cols, BLOCK_SIZE=block, STAGES=stages, num_warps=8
    )
    return output
