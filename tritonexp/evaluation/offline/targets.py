"""The GPUs that kernels can be compiled for, and whether a launch would fit one.

Not covered: how many blocks a multiprocessor holds at a time, and memory for what they work on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tritonexp.errors import ConfigError
from tritonexp.evaluation.offline.cubins import Usage
from tritonexp.records import Gpu

WARP_SIZE = 32
MAX_THREADS_PER_BLOCK = 1024
REGISTERS_PER_BLOCK = 65_536
# registers are handed out to a warp in units of 256, which is 8 for each of its threads
REGISTER_UNIT = 8
MAX_GRID = (2**31 - 1, 65_535, 65_535)
TENSOR_MEMORY_COLUMNS = 512

KIB = 1 << 10
# of shared memory, where a kernel does not ask for more
SHARED_BYTES_WITHOUT_OPT_IN = 48 * KIB


@dataclass(frozen=True, kw_only=True)
class Device:
    """What host code may ask of the GPU that stands for a target (vendor's figures)."""

    name: str
    capability: tuple[int, int]
    sm_count: int
    shared_bytes_per_block: int  # opt-in
    shared_bytes_per_sm: int
    threads_per_sm: int
    l2_bytes: int
    memory_bytes: int

    @property
    def arch(self) -> int:
        """The compute capability as Triton's number, as in 90."""
        return self.capability[0] * 10 + self.capability[1]


DEVICES = {
    "sm_80": Device(
        name="NVIDIA A100-SXM4-80GB",
        capability=(8, 0),
        sm_count=108,
        shared_bytes_per_block=163 * KIB,
        shared_bytes_per_sm=164 * KIB,
        threads_per_sm=2048,
        l2_bytes=40 << 20,
        memory_bytes=80 << 30,
    ),
    "sm_86": Device(
        name="NVIDIA GeForce RTX 3090",
        capability=(8, 6),
        sm_count=82,
        shared_bytes_per_block=99 * KIB,
        shared_bytes_per_sm=100 * KIB,
        threads_per_sm=1536,
        l2_bytes=6 << 20,
        memory_bytes=24 << 30,
    ),
    "sm_90": Device(
        name="NVIDIA H200",
        capability=(9, 0),
        sm_count=132,
        shared_bytes_per_block=227 * KIB,
        shared_bytes_per_sm=228 * KIB,
        threads_per_sm=2048,
        l2_bytes=50 << 20,
        memory_bytes=141 * 10**9,
    ),
    "sm_100": Device(
        name="NVIDIA B200",
        capability=(10, 0),
        sm_count=148,
        shared_bytes_per_block=227 * KIB,
        shared_bytes_per_sm=228 * KIB,
        threads_per_sm=2048,
        l2_bytes=126 << 20,
        memory_bytes=180 * 10**9,
    ),
}


# where it is not THREADS_PER_SM, by compute capability
FEWER_THREADS_PER_SM = {(7, 5): 1024, (8, 6): 1536, (8, 7): 1536, (8, 9): 1536, (12, 0): 1536}
THREADS_PER_SM = 2048


def device_of(gpu: Gpu) -> Device:
    """The stand-in for a GPU that is there."""
    major, minor = (int(part) for part in gpu.compute_capability.split("."))
    return Device(
        name=gpu.name,
        capability=(major, minor),
        sm_count=gpu.sm_count,
        shared_bytes_per_block=gpu.shared_memory_per_block_bytes,
        # a block's share is all of it but for what the system keeps of each
        shared_bytes_per_sm=gpu.shared_memory_per_block_bytes + KIB,
        threads_per_sm=FEWER_THREADS_PER_SM.get((major, minor), THREADS_PER_SM),
        l2_bytes=gpu.l2_bytes,
        memory_bytes=gpu.memory_bytes,
    )


def check_target(target: str) -> None:
    """Raise ConfigError for a target that is not known."""
    if target not in DEVICES:
        raise ConfigError(
            f"there is no target {target!r} to compile for; choose one of {', '.join(DEVICES)}."
        )


def misfit(
    metadata: Any, usage: Usage | None, grid: tuple[int, int, int] | None, device: Device
) -> str:
    """Why a launch does not fit a device, "" where it does."""
    threads = metadata.num_warps * WARP_SIZE
    rounded = -(-usage.registers // REGISTER_UNIT) * REGISTER_UNIT if usage else 0
    needs = [
        ("bytes of shared memory per block", metadata.shared, device.shared_bytes_per_block),
        ("threads per block", threads, MAX_THREADS_PER_BLOCK),
        ("registers per block", rounded * threads, REGISTERS_PER_BLOCK),
        # only Blackwell's kernels have tensor memory
        (
            "columns of tensor memory",
            getattr(metadata, "tmem_size", None) or 0,
            TENSOR_MEMORY_COLUMNS,
        ),
    ]
    needs += [
        (f"blocks along the grid's {axis}", blocks, limit)
        for axis, blocks, limit in zip("xyz", grid or (1, 1, 1), MAX_GRID, strict=True)
    ]
    return "; ".join(
        f"needs {need} {what}, {device.name} has {limit}"
        for what, need, limit in needs
        if need > limit
    )
