from collections.abc import Callable

import pytest

from tritonexp.records import Argument, MachineFacts, OperationBrief

BASELINE = """import torch


def scale_rows(x: torch.Tensor) -> torch.Tensor:
    largest = x.abs().amax(dim=1, keepdim=True)
    return x / largest
"""


@pytest.fixture
def brief() -> OperationBrief:
    """Tell of an operation that is in no folder."""
    return OperationBrief(
        name="scale_rows",
        title="Rows scaled by their largest magnitude",
        pattern="fusion",
        entry_point="scale_rows",
        signature="scale_rows(x: torch.Tensor) -> torch.Tensor",
        baseline_source=BASELINE,
        arguments=(Argument(name="x", description="tensor [rows, cols], contiguous"),),
        result="tensor [rows, cols]",
        dtypes=("float32", "bfloat16"),
        shapes="Up to 4,099 rows and 77 columns.",
        precision="As exact as float32 allows.",
    )


@pytest.fixture
def facts() -> MachineFacts:
    """Give the facts of a machine with one GPU."""
    return MachineFacts(
        triton_version="3.6.0",
        gpu_name="NVIDIA H200",
        compute_capability="9.0",
        sm_count=132,
        shared_memory_per_block_bytes=232448,
        l2_bytes=62914560,
        bandwidth_gb_s=4256.8371,
    )


@pytest.fixture
def facts_without_gpu() -> MachineFacts:
    """Give the facts of a machine without a GPU."""
    return MachineFacts(
        triton_version="3.7.1",
        gpu_name=None,
        compute_capability=None,
        sm_count=None,
        shared_memory_per_block_bytes=None,
        l2_bytes=None,
        bandwidth_gb_s=None,
    )


@pytest.fixture
def guard() -> Callable[[str], dict[str, str]]:
    """Make the guarded sources of one file."""
    return lambda source: {"house.py": source}
