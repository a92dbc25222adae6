"""What a call costs, and so why a kernel is fast or slow: launches, occupancy and memory.

Does not cover what no record holds: how often a cache served a request, and what a kernel waited
for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from tritonexp.records import CompiledKernel, DramTraffic, Evaluation, Traffic, Trial
from tritonexp.report import view, words

MOST_OF_A_NAME = 60
KERNEL_COLUMNS = (
    "side",
    "kernel",
    "size",
    "dtype",
    "launches per call",
    "grid",
    "warps",
    "stages",
    "registers",
    "shared memory",
    "spills (B per thread)",
    "blocks per SM",
    "occupancy",
    "fits",
    "reason",
)


def kernels_table(trials: Sequence[Trial]) -> str:
    """Every different kernel of some sides with its launch; sizes that agree share a row.

    What is known of none of them has no column.
    """
    rows: list[tuple[str, ...]] = []
    for trial in trials:
        groups: dict[CompiledKernel, list[CompiledKernel]] = {}
        for kernel in trial.compiled:
            # the grid follows from the size
            groups.setdefault(dataclasses.replace(kernel, size=None, grid=None), []).append(kernel)
        rows += [
            _kernel_row(trial.implementation.name, like, kernels)
            for like, kernels in groups.items()
        ]
    return words.table(*words.without_dashes(KERNEL_COLUMNS, rows))


def _kernel_row(
    side: str, like: CompiledKernel, kernels: Sequence[CompiledKernel]
) -> tuple[str, ...]:
    return (
        side,
        view.one_line(like.name, MOST_OF_A_NAME),
        _joined(item.size.label if item.size else words.MISSING for item in kernels),
        like.dtype or words.MISSING,
        words.count(like.launches),
        _joined("x".join(map(str, item.grid)) if item.grid else words.MISSING for item in kernels),
        str(like.num_warps),
        words.count(like.num_stages),
        words.count(like.registers),
        words.size_bytes(like.shared_bytes),
        words.count(like.spill_bytes),
        words.count(like.blocks_per_sm),
        words.fraction(like.occupancy),
        {True: "yes", False: "no", None: words.MISSING}[like.fits],
        view.one_line(like.reason) or words.MISSING,
    )


def launches(evaluation: Evaluation) -> str:
    """How many GPU kernels one call of each side launches at the last size, whoever's they are.

    "" where no launch was counted.
    """
    counts = {
        trial.implementation.name: _launches_of(trial, evaluation)
        for trial in evaluation.trials
        if trial.timings
    }
    if all(count is None for count in counts.values()):
        return ""
    told = ", ".join(f"{name} {words.count(count)}" for name, count in counts.items())
    return f"- Launches per call at {evaluation.sizes[-1].label}, of anybody's kernels: {told}"


def _launches_of(trial: Trial, evaluation: Evaluation) -> int | None:
    """None where a launch was not counted."""
    size = evaluation.sizes[-1]
    found = [item.launches for item in trial.compiled if item.size == size]
    known = [count for count in found if count is not None]
    return sum(known) if known and len(known) == len(found) else None


def memory_passes(evaluation: Evaluation, label: str) -> str:
    """What each side asks of memory over the least, with what it means."""
    candidate = evaluation.candidate.traffic
    if candidate is None:
        return f"- Memory passes: {words.MISSING} (not counted)"
    counted = [(trial.implementation.name, trial.traffic) for trial in evaluation.trials]
    known = [(name, item) for name, item in counted if item is not None]
    lines = [
        (
            f"Memory passes ({label}): the bytes that one call asks for over the least that it must"
            " move, every argument read once and every result written once. Counted in Triton's"
            f" interpreter at {candidate.size.label} {candidate.dtype}, by the worker's own"
            " account."
        ),
        "",
        f"- {_passes_line(known)}.",
        *_around(candidate),
        *_by_argument(candidate),
        (
            "- What is asked for again counts again, though a cache may serve it: a tensor that"
            " every program reads, such as weights, crosses the memory about once."
        ),
    ]
    if candidate.flops is not None:
        lines.append(
            "- Arithmetic may bound this operation"
            f" ({words.number(candidate.flops, 0)} operations at this size): its kernels ask for"
            " tiles again by design, so reads above 1 are no fault of theirs."
        )
    lines += [
        f"- {name} was not counted: {view.one_line(item.reason)}"
        for name, item in known
        if item.reason
    ]
    return "\n".join(lines)


def _passes_line(known: Sequence[tuple[str, Traffic]]) -> str:
    """As in memory passes: reads 1.00 of the minimum, writes 1.00; baseline 5.00 / 3.00."""
    (_, candidate), *others = known
    reads, writes = passes_of(candidate)
    text = f"memory passes: reads {words.fraction(reads)} of the minimum, writes"
    text += f" {words.fraction(writes)}"
    for name, item in others:
        reads, writes = passes_of(item)
        text += f"; {name} {words.fraction(reads)} / {words.fraction(writes)}"
    return text


def passes_of(item: Traffic) -> tuple[float | None, float | None]:
    """Reads and writes over the least: of Triton kernels, or of torch where there are none."""
    if item.launches == 0:
        return (
            _over(item.torch_read_bytes, item.least_read_bytes),
            _over(item.torch_written_bytes, item.least_written_bytes),
        )
    return (
        _over(item.read_bytes, item.least_read_bytes),
        _over(item.written_bytes, item.least_written_bytes),
    )


def _around(item: Traffic) -> list[str]:
    """What is not in the candidate's passes."""
    if item.torch_read_bytes is None:
        return []
    reads = _over(item.torch_read_bytes, item.least_read_bytes)
    writes = _over(item.torch_written_bytes, item.least_written_bytes)
    return [
        (
            "- Not in them: torch's operations around the candidate's kernels, which ask for reads"
            f" {words.fraction(reads)}, writes {words.fraction(writes)}. The baseline's are its"
            " operations of torch, each taken to read its arguments and to write its results once."
        )
    ]


def _by_argument(item: Traffic) -> list[str]:
    """How often each argument is read, where that says more than their sum."""
    if item.read_bytes is None:
        return []
    parts = [
        f"{one.name} {words.fraction(_over(one.read_bytes, one.size_bytes))}"
        for one in item.arguments
    ]
    rest = item.read_bytes - sum(one.read_bytes for one in item.arguments)
    if rest > 0:
        parts.append(f"and {words.size_bytes(rest)} elsewhere")
    if len(parts) == 1:
        return []
    return [f"- The candidate's kernels read, in times its size: {', '.join(parts)}."]


def memory_traffic(evaluation: Evaluation) -> str:
    """What the profiler measured of each side, or why it did not; "" where none was asked for."""
    profile = evaluation.profile
    if profile is None:
        return ""
    if profile.reason:
        return (
            f"Memory traffic: profile={profile.tool} was asked for and measured nothing:"
            f" {view.one_line(profile.reason)}."
        )
    rows = [
        _dram_row(trial.implementation.name, item)
        for size in evaluation.sizes
        for trial in evaluation.trials
        if (item := trial.dram_at(size)) is not None
    ]
    return (
        f"Memory traffic of one call, measured by {profile.tool}: each kernel begins with an empty"
        " cache, and what it leaves in the cache to be written later does not count.\n\n"
        + words.table(
            *words.without_dashes(("size", "side", "kernels", "read", "written", "why not"), rows)
        )
    )


def _dram_row(side: str, item: DramTraffic) -> tuple[str, ...]:
    return (
        item.size.label,
        side,
        words.count(item.kernels),
        words.size_bytes(item.read_bytes),
        words.size_bytes(item.written_bytes),
        view.one_line(item.reason) or words.MISSING,
    )


def moved_bytes(trial: Trial, evaluation: Evaluation) -> dict[str, int]:
    """What one call read and wrote at each size, by its label, where that was measured."""
    return {
        size.label: item.read_bytes + item.written_bytes
        for size in evaluation.sizes
        if (item := trial.dram_at(size)) is not None
        and item.read_bytes is not None
        and item.written_bytes is not None
    }


def _over(amount: int | None, least: int) -> float | None:
    return amount / least if amount is not None and least else None


def _joined(texts: Iterable[str]) -> str:
    """Texts in a row, or the one that all of them are."""
    return ", ".join(dict.fromkeys(texts))
