"""What a call costs, in the report: launches, occupancy, memory and compiling, from the record."""

import dataclasses

import builders as build
import pytest

from tritonexp.records import (
    ArgumentReads,
    CompiledKernel,
    DramTraffic,
    Profile,
    Size,
    Traffic,
)
from tritonexp.report import document, work

SMALL = Size(axes=("rows", "cols"), extents=(5, 4097))
BYTES = 4 * 5 * 4097

TRAFFIC = Traffic(
    size=SMALL,
    dtype="float32",
    launches=1,
    read_bytes=BYTES,
    arguments=(ArgumentReads(name="x", read_bytes=BYTES, size_bytes=BYTES),),
    written_bytes=BYTES,
    torch_read_bytes=0,
    torch_written_bytes=0,
    least_read_bytes=BYTES,
    least_written_bytes=BYTES,
    flops=None,
    reason="",
)
OF_BASELINE = dataclasses.replace(
    TRAFFIC,
    launches=0,
    read_bytes=0,
    arguments=(),
    written_bytes=0,
    torch_read_bytes=5 * BYTES,
    torch_written_bytes=3 * BYTES,
)
NOT_COUNTED = Traffic(
    size=SMALL,
    dtype="float32",
    launches=None,
    read_bytes=None,
    arguments=(),
    written_bytes=None,
    torch_read_bytes=None,
    torch_written_bytes=None,
    least_read_bytes=BYTES,
    least_written_bytes=BYTES,
    flops=None,
    reason="RuntimeError: 0 active drivers",
)


def kernel(size, **changes):
    """A kernel as the driver described it at a size."""
    values = {
        "name": "softmax_kernel",
        "target": "sm_90",
        "dtype": "float32",
        "size": size,
        "grid": (size.extents[0], 1, 1),
        "launches": 1,
        "num_warps": 8,
        "num_stages": None,
        "registers": 40,
        "shared_bytes": 128,
        "spill_bytes": 0,
        "blocks_per_sm": 6,
        "occupancy": 0.75,
        "fits": True,
        "reason": "",
    }
    return CompiledKernel(**values | changes)


def evaluation(candidate=TRAFFIC, baseline=OF_BASELINE, liger=NOT_COUNTED, **changes):
    """An evaluation on a GPU whose sides ask for this of memory."""
    made = build.gpu_evaluation(
        candidate=build.trial(
            "candidate", traffic=candidate, compiled=tuple(map(kernel, build.SIZES))
        ),
        references=(
            build.trial("baseline", traffic=baseline),
            build.trial("liger", traffic=liger),
        ),
    )
    return dataclasses.replace(made, **changes)


def behaviour(made):
    """The report's section on what the kernel does."""
    text = document.render(build.record(made))
    return next(part for part in text.split("\n## ") if part.startswith("What the kernel does"))


def test_memory_passes_are_one_line_of_all_sides():
    """The candidate's and the expert's are their kernels', the baseline's are torch's."""
    text = behaviour(evaluation(liger=TRAFFIC))
    assert (
        "- memory passes: reads 1.00 of the minimum, writes 1.00; baseline 5.00 / 3.00;"
        " liger 1.00 / 1.00." in text
    )
    assert "interpreter at 5x4097 float32, by the worker's own account" in text
    assert "Not in them: torch's operations" in text
    assert "which ask for reads 0.00, writes 0.00" in text


def test_side_that_was_not_counted_has_a_dash_and_its_reason():
    """Nothing is made up for an expert that the interpreter cannot run."""
    text = behaviour(evaluation())
    assert "; liger - / -." in text
    assert "- liger was not counted: RuntimeError: 0 active drivers" in text


def test_candidate_that_was_not_counted_has_dashes():
    """The reason stands where the figures would."""
    text = behaviour(evaluation(candidate=NOT_COUNTED))
    assert "memory passes: reads - of the minimum, writes -; baseline 5.00 / 3.00" in text
    assert "- candidate was not counted: RuntimeError" in text
    assert "Not in them" not in text


def test_record_without_a_count_says_so():
    """Evaluations from before it was counted, and wrong candidates, have a dash."""
    assert "- Memory passes: - (not counted)" in behaviour(evaluation(candidate=None))


def test_rereads_are_told_by_argument():
    """A row of weights that every program reads explains the sum; one argument alone does not."""
    rows = dataclasses.replace(
        TRAFFIC,
        read_bytes=3 * BYTES + 1024,
        arguments=(
            ArgumentReads(name="x", read_bytes=BYTES, size_bytes=BYTES),
            ArgumentReads(name="weight", read_bytes=2 * BYTES, size_bytes=BYTES // 5),
        ),
    )
    text = behaviour(evaluation(candidate=rows))
    assert "in times its size: x 1.00, weight 10.00, and 1 KiB elsewhere." in text
    assert "in times its size" not in behaviour(evaluation())


def test_bound_by_arithmetic_is_said_with_the_figure():
    """A matrix product asks for its tiles again by design, which is told beside its passes."""
    product = dataclasses.replace(TRAFFIC, read_bytes=4 * BYTES, flops=728_000.0)
    text = behaviour(evaluation(candidate=product))
    assert "reads 4.00 of the minimum" in text
    assert "Arithmetic may bound this operation (728,000 operations at this size)" in text
    assert "Arithmetic may bound" not in behaviour(evaluation())


def test_sizes_with_the_same_kernel_share_a_row():
    """Registers, occupancy and launches once, with the grids in the order of the sizes."""
    sizes = build.SIZES
    compiled = (
        *map(kernel, sizes[:3]),
        kernel(sizes[3], num_warps=4, occupancy=None, blocks_per_sm=None, launches=None),
    )
    table = work.kernels_table([build.trial("candidate", compiled=compiled)])
    first, second = table.splitlines()[2:]
    assert first == (
        "| candidate | softmax_kernel | 1024x1024, 2048x2048, 4096x4096 | float32 | 1 |"
        " 1024x1x1, 2048x1x1, 4096x1x1 | 8 | 40 | 128 B | 0 | 6 | 0.75 | yes |"
    )
    assert second == (
        "| candidate | softmax_kernel | 8192x1024 | float32 | - |"
        " 8192x1x1 | 4 | 40 | 128 B | 0 | - | - | yes |"
    )


def test_launches_of_all_sides_are_counted_at_the_last_size():
    """Two kernels, one of them twice; a side whose kernels nobody described has a dash."""
    last = build.SIZES[-1]
    five = (kernel(last, launches=4), kernel(last, name="sum_kernel"))
    made = build.gpu_evaluation(
        candidate=build.trial("candidate", compiled=tuple(map(kernel, build.SIZES))),
        references=(build.trial("baseline", compiled=five), build.trial("liger")),
    )
    assert work.launches(made) == (
        "- Launches per call at 8192x1024, of anybody's kernels: candidate 1, baseline 5, liger -"
    )
    assert work.launches(made) in behaviour(made)


def test_every_timed_side_is_in_the_table_of_launches():
    """What was launched on the GPU is shown for the references too."""
    made = build.gpu_evaluation(
        candidate=build.trial("candidate", compiled=tuple(map(kernel, build.SIZES))),
        references=(build.trial("baseline", compiled=(kernel(build.SIZES[0]),)),),
    )
    text = behaviour(made)
    assert "Launched, as measured on NVIDIA H200, 2026-11-22, compiled for sm_90:" in text
    assert "| baseline | softmax_kernel | 1024x1024 |" in text


@pytest.mark.parametrize("compile_s", [0.31, None])
def test_compiling_stands_beside_the_first_call(compile_s):
    """What was not counted is a dash, and whose account it is is said."""
    side = dataclasses.replace(build.trial("candidate"), compile_s=compile_s)
    text = document.render(build.record(build.gpu_evaluation(candidate=side)))
    host = next(part for part in text.split("\n## ") if part.startswith("Host time"))
    line = next(line for line in host.splitlines() if "Triton's compiler (s)" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells.count("0.31") == (5 if compile_s else 4)
    assert cells.count("-") == (0 if compile_s else 1)
    assert "the workers themselves say" in host


def dram(size, read_bytes=4096, reason=""):
    """What a profiler measured at a size."""
    return DramTraffic(
        size=size,
        dtype="float32",
        kernels=None if reason else 1,
        read_bytes=None if reason else read_bytes,
        written_bytes=None if reason else 1024,
        kernel_us=None if reason else 5.4,
        reason=reason,
    )


def test_measured_traffic_has_a_table_and_its_place_among_the_bytes():
    """Bytes moved are those of the profiler, per size, and a size without them has its reason."""
    sizes = build.SIZES
    candidate = build.trial(
        "candidate", dram=(dram(sizes[0]), dram(sizes[1], reason="ncu wrote no table"))
    )
    made = dataclasses.replace(
        build.gpu_evaluation(candidate=candidate), profile=Profile(tool="ncu", reason="")
    )
    text = behaviour(made)
    assert "| 1024x1024 | candidate | 1 | 4 KiB | 1 KiB | - |" in text
    assert "| 2048x2048 | candidate | - | - | - | ncu wrote no table |" in text
    assert "| 1024x1024 | 8 MiB | 5 KiB | memory |" in text
    assert "| 2048x2048 | 32 MiB | - | memory |" in text
    assert "measured by a profiler" in text


def test_profiler_that_measured_nothing_is_told():
    """One sentence says why, and the bytes moved stay a dash."""
    made = dataclasses.replace(
        build.gpu_evaluation(), profile=Profile(tool="ncu", reason="ncu is not on the PATH")
    )
    text = behaviour(made)
    assert "profile=ncu was asked for and measured nothing: ncu is not on the PATH." in text
    assert "not measured (profile=ncu asks for it)" in text


def test_profile_that_nobody_asked_for_is_not_mentioned_as_failed():
    """A record without a profile has no section on it."""
    assert work.memory_traffic(build.gpu_evaluation()) == ""


def test_interpreter_and_recorded_figures_stand_apart():
    """An offline compilation and a recording's launches are two tables."""
    own = build.interpreter_evaluation()
    recorded = build.gpu_evaluation(
        candidate=build.trial("candidate", compiled=(kernel(build.SIZES[0]),))
    )
    text = document.render(build.record(own, recorded_evaluation=recorded))
    assert "Compiled for sm_90:" in text
    assert "Launched, as recorded on NVIDIA H200, 2026-11-22, compiled for sm_90:" in text


def test_profile_is_part_of_the_command_that_repeats_a_run():
    """Where one was asked for, and only there."""
    config = {"model": {}, "sizes": {"custom": None}, "profile": {"name": "ncu"}}
    with_profile = build.record(build.gpu_evaluation(), config=config)
    assert " profile=ncu" in document.render(with_profile)
    config = config | {"profile": {"name": "none"}}
    without = build.record(build.gpu_evaluation(), config=config)
    assert " profile=" not in document.render(without).replace("profile=ncu asks", "")
