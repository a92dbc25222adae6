"""Walks along k by block pointers, whose boundary checks stand for masks.

operation: matmul
status: CORRECT
interpreter: CORRECT
"""

import torch
import triton
import triton.language as tl


@triton.jit
def matmul_kernel(a_ptr, b_ptr, output_ptr, m, n, k, BLOCK: tl.constexpr):
    row = tl.program_id(0) // tl.cdiv(n, BLOCK) * BLOCK
    col = tl.program_id(0) % tl.cdiv(n, BLOCK) * BLOCK
    a_ptr = tl.make_block_ptr(a_ptr, (m, k), (k, 1), (row, 0), (BLOCK, BLOCK), (1, 0))
    b_ptr = tl.make_block_ptr(b_ptr, (k, n), (n, 1), (0, col), (BLOCK, BLOCK), (1, 0))
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for _ in range(0, k, BLOCK):
        a = tl.load(a_ptr, boundary_check=(0, 1), padding_option="zero")
        b = tl.load(b_ptr, boundary_check=(0, 1), padding_option="zero")
        total = tl.dot(a, b, total)
        a_ptr = tl.advance(a_ptr, (0, BLOCK))
        b_ptr = tl.advance(b_ptr, (BLOCK, 0))
    output_ptr = tl.make_block_ptr(output_ptr, (m, n), (n, 1), (row, col), (BLOCK, BLOCK), (1, 0))
    tl.store(output_ptr, total.to(tl.float16), boundary_check=(0, 1))


def matmul(a, b):
    (m, k), n = a.shape, b.shape[1]
    output = torch.empty((m, n), dtype=a.dtype, device=a.device)
    tiles = triton.cdiv(m, 64) * triton.cdiv(n, 64)
    matmul_kernel[(tiles,)](a, b, output, m, n, k, BLOCK=64)
    return output
