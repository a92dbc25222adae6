"""How many blocks of a compiled kernel a multiprocessor holds at a time, where no driver can say.

By the rules of the occupancy header that comes with CUDA's runtime, for the targets of the offline
compiler. Does not cover clusters and a carve-out of shared memory that somebody asked for.
"""

from __future__ import annotations

import dataclasses

from tritonexp.evaluation.offline.targets import DEVICES
from tritonexp.records import CompiledKernel

WARP_THREADS = 32
MAX_BLOCKS_PER_SM = {"sm_80": 32, "sm_86": 16, "sm_90": 32, "sm_100": 32}
REGISTERS_PER_SM = 65_536
# registers are handed out to whole warps, in units, and by each quarter of a multiprocessor itself
REGISTER_UNIT = 256
QUARTERS = 4
# of shared memory: what CUDA takes of each block, and the units that are handed out
RESERVED_BYTES = 1024
SHARED_UNIT_BYTES = 128


def with_occupancy(kernel: CompiledKernel) -> CompiledKernel:
    """Add how many blocks a multiprocessor of the target holds; as it is where too little is known.

    A kernel that does not fit the target, or may not, is left alone too.
    """
    registers, shared_bytes = kernel.registers, kernel.shared_bytes
    if registers is None or shared_bytes is None or not kernel.fits:
        return kernel
    if kernel.target not in DEVICES:
        return kernel
    blocks = blocks_per_sm(kernel.target, kernel.num_warps, registers, shared_bytes)
    max_warps = DEVICES[kernel.target].threads_per_sm // WARP_THREADS
    return dataclasses.replace(
        kernel, blocks_per_sm=blocks, occupancy=blocks * kernel.num_warps / max_warps
    )


def blocks_per_sm(target: str, num_warps: int, registers: int, shared_bytes: int) -> int:
    """The blocks of a kernel that a multiprocessor holds; 0 where it does not hold even one."""
    device = DEVICES[target]
    warp_registers = _rounded_up(registers * WARP_THREADS, REGISTER_UNIT)
    # a launch is checked as if every quarter had the same number of the block's warps
    if warp_registers * _rounded_up(num_warps, QUARTERS) > REGISTERS_PER_SM:
        return 0
    warps = DEVICES[target].threads_per_sm // WARP_THREADS
    if warp_registers:
        warps = min(warps, REGISTERS_PER_SM // QUARTERS // warp_registers * QUARTERS)
    block_bytes = _rounded_up(shared_bytes + RESERVED_BYTES, SHARED_UNIT_BYTES)
    return min(
        MAX_BLOCKS_PER_SM[target], warps // num_warps, device.shared_bytes_per_sm // block_bytes
    )


def _rounded_up(amount: int, unit: int) -> int:
    return -(-amount // unit) * unit
