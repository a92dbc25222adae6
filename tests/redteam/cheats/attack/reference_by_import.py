"""Imports the project, has it load the operation's baseline, and passes the baseline's result
through a copying kernel.

operation: softmax
status: IMPORT_ERROR
interpreter: IMPORT_ERROR
"""

import importlib

import torch
import triton
import triton.language as tl


@triton.jit
def copy_kernel(x_ptr, output_ptr, n_elements, BLOCK_SIZE: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = offsets < n_elements
    tl.store(output_ptr + offsets, tl.load(x_ptr + offsets, mask=inside), mask=inside)


def copied(x):
    output = torch.empty_like(x)
    copy_kernel[(triton.cdiv(x.numel(), 1024),)](x, output, x.numel(), BLOCK_SIZE=1024)
    return output


baseline = importlib.import_module("tritonexp.operations").load("softmax").function


def softmax(x):
    return copied(baseline(x))
