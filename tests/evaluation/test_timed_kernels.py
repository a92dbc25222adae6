"""What a timed graph holds: the driver's figures, the form of an answer, and the record of it.

The driver is a stand-in with the names and shapes of cuda.bindings 13; tests marked gpu ask the
real one.
"""

import sys
import types

import pytest

from tritonexp.evaluation import answers, graphs, timed_kernels
from tritonexp.evaluation.process import WorkerFailedError
from tritonexp.records import Size, Status

SIZE = Size(axes=("rows", "cols"), extents=(7, 1000))
KERNEL = {
    "name": "softmax_kernel",
    "is_kernel": True,
    "own": True,
    "count": 4,
    "grid": [7, 1, 1],
    "threads": 256,
    "registers": 40,
    "shared_bytes": 128,
    "local_bytes": 0,
    "blocks_per_sm": 6,
    "threads_per_sm": 2048,
}
FILL = {"name": "CU_GRAPH_NODE_TYPE_MEMSET", "is_kernel": False, "own": False, "count": 4}


def driver_that(blocks=(0, 6), device=(0, "device"), threads=(0, 2048)):
    """A driver whose calls answer so: a result and what was asked for, or None."""
    asked = []

    def answer(name, found):
        def call(*arguments):
            asked.append((name, *arguments))
            return found

        return call

    attribute = types.SimpleNamespace(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR=39)
    return types.SimpleNamespace(
        asked=asked,
        CUresult=types.SimpleNamespace(CUDA_SUCCESS=0),
        CUdevice_attribute=attribute,
        cuOccupancyMaxActiveBlocksPerMultiprocessor=answer("occupancy", blocks),
        cuCtxGetDevice=answer("device", device),
        cuDeviceGetAttribute=answer("attribute", threads),
    )


@pytest.fixture
def driver(monkeypatch):
    """Puts a stand-in in the driver's place."""

    def put(made):
        bindings = types.ModuleType("cuda.bindings")
        bindings.driver = made
        for name, module in (("cuda", types.ModuleType("cuda")), ("cuda.bindings", bindings)):
            monkeypatch.setitem(sys.modules, name, module)
        return made

    return put


def test_driver_is_asked_for_the_launch_as_it_is(driver):
    """The function, its threads and its dynamic shared memory; then the device's own limit."""
    made = driver(driver_that())
    assert graphs._occupancy("function", 256, 98_304) == {
        "blocks_per_sm": 6,
        "threads_per_sm": 2048,
    }
    assert made.asked == [
        ("occupancy", "function", 256, 98_304),
        ("device",),
        ("attribute", 39, "device"),
    ]


@pytest.mark.parametrize("refused", ["blocks", "device", "threads"])
def test_driver_that_refuses_leaves_it_unknown(driver, refused):
    """The rest of a kernel's description is worth having without its occupancy."""
    driver(driver_that(**{refused: (201, None)}))
    assert graphs._occupancy("function", 256, 0) == {"blocks_per_sm": None, "threads_per_sm": None}


def test_work_of_ours_is_taken_as_it_is():
    """With and without what a multiprocessor holds."""
    unknown = KERNEL | {"blocks_per_sm": None, "threads_per_sm": None}
    work = [KERNEL, unknown, FILL]
    assert answers.work_of({"work": work}) == work


@pytest.mark.parametrize(
    "change",
    [
        {"blocks_per_sm": None},
        {"threads_per_sm": None},
        {"blocks_per_sm": -1},
        {"blocks_per_sm": 6.0},
        {"blocks_per_sm": True},
        {"blocks_per_sm": "6"},
        {"blocks_per_sm": 9},
        {"blocks_per_sm": 1 << 70},
        {"threads_per_sm": 0, "blocks_per_sm": 0},
        {"threads_per_sm": 31, "blocks_per_sm": 0},
        {"threads_per_sm": 1 << 70},
        # 57 threads are two warps, and 33 blocks of two more than 64
        {"threads": 57, "blocks_per_sm": 33},
    ],
)
def test_odd_occupancy_is_tampering(change):
    """More blocks than a multiprocessor holds, or half an answer, is none of ours."""
    with pytest.raises(WorkerFailedError) as caught:
        answers.work_of({"work": [KERNEL | change]})
    assert caught.value.status is Status.TAMPERING


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({}, (None, None)),
        ({"compile_s": None, "autotune_s": None}, (None, None)),
        ({"compile_s": 0.25, "autotune_s": 0}, (0.25, 0.0)),
        ({"compile_s": 3}, (3.0, None)),
    ],
)
def test_compiling_may_be_unknown(answer, found):
    """An interpreter's worker tells of no compiling."""
    assert answers.compiling_of(answer) == found


@pytest.mark.parametrize("key", ["compile_s", "autotune_s"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), True, "1", [1], {}], ids=repr)
def test_odd_seconds_are_tampering(key, value):
    """A time is a finite number that is not negative, whoever tells it."""
    with pytest.raises(WorkerFailedError) as caught:
        answers.compiling_of({key: value})
    assert caught.value.status is Status.TAMPERING


def test_kernels_of_a_graph_are_counted_for_each_call():
    """A graph of four calls: one kernel in each, another twice, and fills, which are none."""
    other = KERNEL | {"name": "sum_kernel", "count": 8, "threads": 57, "grid": [3, 2, 1]}
    found = timed_kernels.kernels_of([KERNEL, FILL, other], 4, "sm_90", SIZE, "float32")
    assert [(item.name, item.launches, item.num_warps) for item in found] == [
        ("softmax_kernel", 1, 8),
        ("sum_kernel", 2, 2),
    ]
    first, second = found
    assert (first.blocks_per_sm, first.occupancy) == (6, 0.75)
    assert (second.blocks_per_sm, second.occupancy) == (6, 12 / 64)
    assert (first.grid, first.size, first.target) == ((7, 1, 1), SIZE, "sm_90")


def test_functions_that_agree_in_all_figures_are_one_kernel():
    """Two specialisations of one kernel are told apart by nothing that the record holds."""
    found = timed_kernels.kernels_of([KERNEL, KERNEL], 4, "sm_90", SIZE, "float32")
    assert [(item.name, item.launches) for item in found] == [("softmax_kernel", 2)]


def test_unknown_occupancy_stays_unknown():
    """What an older worker or another driver does not tell is None in the record."""
    work = [{key: value for key, value in KERNEL.items() if not key.endswith("_per_sm")}]
    (found,) = timed_kernels.kernels_of(work, 4, "sm_90", SIZE, "float32")
    assert (found.blocks_per_sm, found.occupancy) == (None, None)
