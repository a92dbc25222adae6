"""Occupancy from a kernel's figures, against the occupancy header of CUDA's runtime."""

import dataclasses

import pytest

from tritonexp.evaluation.occupancy import blocks_per_sm, with_occupancy
from tritonexp.records import CompiledKernel

KERNEL = CompiledKernel(
    name="kernel",
    target="sm_90",
    dtype="float32",
    size=None,
    grid=(1, 1, 1),
    launches=None,
    num_warps=8,
    num_stages=3,
    registers=40,
    shared_bytes=128,
    spill_bytes=0,
    blocks_per_sm=None,
    occupancy=None,
    fits=True,
    reason="",
)


@pytest.mark.parametrize(
    ("target", "warps", "registers", "shared_bytes", "blocks"),
    [
        # what cudaOccMaxActiveBlocksPerMultiprocessor of CUDA 13.5 gives for the same figures
        ("sm_80", 1, 8, 0, 32),
        ("sm_80", 4, 64, 16_384, 8),
        ("sm_80", 8, 255, 128, 1),
        ("sm_80", 4, 40, 166_912, 1),
        ("sm_86", 1, 8, 0, 16),
        ("sm_86", 8, 40, 128, 6),
        ("sm_86", 4, 32, 24_000, 4),
        ("sm_90", 8, 40, 128, 6),
        ("sm_90", 4, 122, 98_304, 2),
        ("sm_90", 4, 24, 232_448, 1),
        ("sm_90", 16, 128, 0, 1),
        ("sm_90", 32, 32, 0, 2),
        ("sm_90", 5, 168, 0, 2),
        ("sm_90", 32, 65, 0, 0),
        ("sm_100", 4, 32, 50_000, 4),
        ("sm_100", 2, 16, 16, 32),
    ],
)
def test_blocks_are_those_of_the_header(target, warps, registers, shared_bytes, blocks):
    """Warps, registers, shared memory and the number of blocks itself each bound some kernel."""
    assert blocks_per_sm(target, warps, registers, shared_bytes) == blocks


def test_occupancy_is_warps_over_the_most():
    """6 blocks of 8 warps are 48 of the 64 that a multiprocessor of sm_90 holds."""
    found = with_occupancy(KERNEL)
    assert (found.blocks_per_sm, found.occupancy) == (6, 0.75)
    assert with_occupancy(dataclasses.replace(KERNEL, target="sm_86")).occupancy == 1.0


@pytest.mark.parametrize(
    "change",
    [
        {"registers": None},
        {"shared_bytes": None},
        {"fits": False},
        {"fits": None},
        {"target": "sm_75"},
    ],
)
def test_unknown_figures_stay_unknown(change):
    """Without registers or shared memory, or for another target, nothing is made up."""
    kernel = dataclasses.replace(KERNEL, **change)
    assert with_occupancy(kernel) is kernel
