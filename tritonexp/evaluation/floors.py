"""The least time that the hardware allows a call.

Every byte that a call must move crosses the memory once at the bandwidth of a large copy, and every
operation runs at the rate of a large matmul; the longer of the two is the floor.

Does not cover what stays in a cache between calls (the timing uses cold buffers), nor bounds by
special functions, latency or launches: a small call cannot reach its floor.
"""

from __future__ import annotations

from tritonexp.errors import EvaluationError
from tritonexp.operations import Spec
from tritonexp.records import Ceilings, Size


def floor_of(spec: Spec, size: Size, dtype: str, ceilings: Ceilings) -> tuple[float, str]:
    """The floor in microseconds and what sets it, "memory" or "compute".

    Raises EvaluationError where the ceiling that it takes was not measured.
    """
    if not ceilings.copy_gb_s > 0:
        raise EvaluationError(
            f"the copy bandwidth is {ceilings.copy_gb_s} GB/s, which no device has;"
            " measure the ceilings again."
        )
    memory_us = spec.floor_bytes(size, dtype) / (ceilings.copy_gb_s * 1e3)
    if spec.flops is None:
        return memory_us, "memory"
    rate_tflop_s = ceilings.matmul_tflop_s.get(dtype, 0.0)
    if not rate_tflop_s > 0:
        measured = ", ".join(sorted(ceilings.matmul_tflop_s)) or "none"
        raise EvaluationError(
            f"no matmul rate was measured for {dtype} (measured: {measured});"
            " measure the ceilings again with this dtype."
        )
    compute_us = spec.flops(size) / (rate_tflop_s * 1e6)
    return (compute_us, "compute") if compute_us > memory_us else (memory_us, "memory")
