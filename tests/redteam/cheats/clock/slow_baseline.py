"""A thread has the GPU work for some milliseconds whenever its own worker has ended its turn, so
that who comes next looks slower than it is.

operation: softmax
status: TAMPERING or CLOCK_MISMATCH or NOT_TRITON
"""

import sys
import threading
import time

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


def fused(x, output):
    block_size = triton.next_power_of_2(x.shape[1])
    softmax_kernel[(x.shape[0],)](x, output, x.shape[1], BLOCK_SIZE=block_size, num_warps=8)
    return output


def is_ours(thread):
    """Whether a thread is in a call or a replay of this file's."""
    frame, names = sys._current_frames()[thread], set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return bool(names & {"run", "capture", "replay", "time_host"})


def disturb(thread):
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.half)
    b = torch.empty_like(a)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        # takes its workspace, before somebody captures
        torch.matmul(a, a, out=b)
    stream.synchronize()
    ready.set()
    end, was_ours = time.monotonic() + 120, False
    while time.monotonic() < end:
        ours = is_ours(thread)
        if was_ours and not ours:
            with torch.cuda.stream(stream):
                for _ in range(3):
                    torch.matmul(a, a, out=b)
            stream.synchronize()
        was_ours = ours


# the worker is to have its turn back at once
sys.setswitchinterval(1e-5)
ready = threading.Event()
threading.Thread(target=disturb, args=(threading.get_ident(),), daemon=True).start()
ready.wait(5)


def softmax(x):
    return fused(x, torch.empty_like(x))
