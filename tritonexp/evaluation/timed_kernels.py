"""What a timed graph launches in one call, as the record holds it.

Does not cover copies and fills, which are no kernels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from tritonexp.records import CompiledKernel, Size

WARP_THREADS = 32


def kernels_of(
    work: Sequence[dict[str, Any]], calls: int, target: str, size: Size, dtype: str
) -> tuple[CompiledKernel, ...]:
    """The different kernels of a graph that holds a number of calls; see graphs.describe."""
    counts: dict[CompiledKernel, int] = {}
    for item in work:
        if item["is_kernel"]:
            kernel = _kernel_of(item, target, size, dtype)
            # two functions may have the same figures
            counts[kernel] = counts.get(kernel, 0) + int(item["count"])
    return tuple(
        dataclasses.replace(kernel, launches=math.ceil(count / calls))
        for kernel, count in counts.items()
    )


def _kernel_of(item: dict[str, Any], target: str, size: Size, dtype: str) -> CompiledKernel:
    warps = -(-int(item["threads"]) // WARP_THREADS)
    blocks, occupancy = item.get("blocks_per_sm"), None
    if blocks is not None:
        occupancy = blocks * warps / (item["threads_per_sm"] // WARP_THREADS)
    return CompiledKernel(
        name=str(item["name"]),
        target=target,
        dtype=dtype,
        size=size,
        grid=tuple(int(extent) for extent in item["grid"]),
        launches=None,
        num_warps=warps,
        num_stages=None,
        registers=int(item["registers"]),
        shared_bytes=int(item["shared_bytes"]),
        spill_bytes=int(item["local_bytes"]),
        blocks_per_sm=blocks,
        occupancy=occupancy,
        fits=True,
        reason="",
    )
