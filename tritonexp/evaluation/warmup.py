"""Does once, before workers are forked, what each of their first compilations would do again.

Nothing here touches the GPU: a process that has initialised CUDA cannot be forked.
"""

from __future__ import annotations

import contextlib
import importlib

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tritonexp.evaluation import compiling
from tritonexp.evaluation.counting import Requests


@triton.jit  # type: ignore[untyped-decorator]  # triton ships no types
def copy_kernel(x_ptr, output_ptr, n_elements, BLOCK_SIZE: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, N803
    """Copy one block."""
    offsets = tl.program_id(0) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = offsets < n_elements
    tl.store(output_ptr + offsets, tl.load(x_ptr + offsets, mask=inside), mask=inside)


def warm_interpreter() -> None:
    """Import what torch needs to tell of its operations, which takes a second."""
    with Requests(()):
        torch.zeros(1)


def warm_compiler(compute_capability: int) -> None:
    """Load the compiler for an NVIDIA GPU, as in 90, and build Triton's binding to the driver.

    Raises what the first compilation in a worker would raise, such as for want of a C compiler.
    """
    compiling.forget_tuning()
    from triton.backends.nvidia.driver import CudaDriver

    # workers describe their graphs with it, and it takes a while to import; where it is missing,
    # the profiler tells of a call's kernels
    with contextlib.suppress(ImportError):
        importlib.import_module("cuda.bindings.driver")

    # it has a C compiler build the binding, anew for each driver: forked workers have this one
    triton.runtime.driver.set_active(CudaDriver())
    source = ASTSource(
        copy_kernel,
        signature={
            "x_ptr": "*fp32",
            "output_ptr": "*fp32",
            "n_elements": "i32",
            "BLOCK_SIZE": "constexpr",
        },
        constexprs={(3,): 1024},
    )
    triton.compile(source, target=GPUTarget("cuda", compute_capability, 32))
    # compilers call on tensors without memory, for which torch imports half a second's worth
    torch.empty_like(torch.empty(1, device="meta"))
