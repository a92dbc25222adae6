"""Compiles first and sizes the grid by registers and shared memory, as Triton's tutorial does.

operation: softmax
status: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(
    output_ptr,
    x_ptr,
    x_row_stride,
    output_row_stride,
    n_rows,
    n_cols,
    BLOCK_SIZE: tl.constexpr,
    STAGES: tl.constexpr,
):
    cols = tl.arange(0, BLOCK_SIZE)
    inside = cols < n_cols
    for row in tl.range(tl.program_id(0), n_rows, tl.num_programs(0), num_stages=STAGES):
        pointers = x_ptr + tl.cast(row, tl.int64) * x_row_stride + cols
        x = tl.load(pointers, mask=inside, other=-float("inf")).to(tl.float32)
        numerator = tl.exp(x - tl.max(x, axis=0))
        result = numerator / tl.sum(numerator, axis=0)
        tl.store(
            output_ptr + tl.cast(row, tl.int64) * output_row_stride + cols, result, mask=inside
        )


def softmax(x):
    rows, cols = x.shape
    output = torch.empty_like(x)
    block, num_warps = triton.next_power_of_2(cols), 8
    # two stages of a longer row would not fit the shared memory
    stages = 2 if block <= 8192 else 1
    arguments = (output, x, x.stride(0), output.stride(0), rows, cols, block, stages)
    kernel = softmax_kernel.warmup(*arguments, num_warps=num_warps, grid=(1,))
    kernel._init_handles()
    properties = torch.cuda.get_device_properties(x.device)
    by_registers = properties.regs_per_multiprocessor // (kernel.n_regs * 32 * num_warps)
    by_memory = properties.shared_memory_per_multiprocessor // max(1, kernel.metadata.shared)
    per_processor = max(1, min(by_registers, by_memory))
    kernel[(min(rows, properties.multi_processor_count * per_processor), 1, 1)](*arguments)
    return output
