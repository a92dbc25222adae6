"""Evaluations that were recorded on a named GPU, and what of them answers what is asked now.

Without a GPU a run shows times that were measured earlier for the same source: those of the sizes,
the timing protocol, the expert and the contenders that it was asked for, and no others.
Does not cover a baseline or an expert whose source changed since: only the candidate's counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tritonexp import jobs
from tritonexp.records import (
    Comparison,
    Evaluation,
    Mode,
    Role,
    Size,
    Status,
    Timing,
    TimingProtocol,
    Trial,
    sha256_of,
)
from tritonexp.statistics import compare

WHAT = "The recorded evaluation of this kernel"
# what makes a time another quantity; the rest of a protocol is how often it is taken
QUANTITY = ("clock", "cold_factor")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """An evaluation, and what its intervals were drawn with."""

    evaluation: Evaluation
    seed: int


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a job is to be shown."""

    sizes: tuple[Size, ...]
    protocol: TimingProtocol
    choice: str  # of an expert, as the user put it
    expert: str | None  # whom that means; None for nobody
    contenders: tuple[str, ...]
    profiler: str | None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What of the recorded evaluations of a source answers what was asked."""

    evaluation: Evaluation | None  # None where nothing does
    is_whole: bool  # whether nothing lacks of the sizes, by the protocol that was asked for
    notes: tuple[str, ...]  # a line for each thing that was asked for and is not shown


def recordings_in(folder: Path) -> dict[str, tuple[Recording, ...]]:
    """Collect the GPU evaluations below a folder by the sha256 of their candidate's source.

    Every JSON file there is a StudyRecord. The latest evaluation of a source comes first.
    """
    found: dict[str, list[Recording]] = {}
    for path in sorted(folder.rglob("*.json")):
        record = jobs.read(path)
        for attempt in record.attempts:
            evaluation = attempt.evaluation
            if attempt.source is None or evaluation is None or evaluation.mode is not Mode.GPU:
                continue
            recording = Recording(evaluation=evaluation, seed=record.choices.seed)
            found.setdefault(sha256_of(attempt.source), []).append(recording)
    return {
        key: tuple(sorted(items, key=lambda item: item.evaluation.environment.date, reverse=True))
        for key, items in found.items()
    }


def show(recordings: Sequence[Recording], asked: Asked) -> Shown:
    """What of the recordings of one source answers what was asked; raises ValueError for none.

    It is taken from the one that holds most of it, of equal ones the latest.
    """
    best = max(recordings, key=lambda item: _fitness(item.evaluation, asked))
    evaluation = best.evaluation
    if not _is_timed(evaluation):
        # it was found wrong, which holds for whatever sizes and protocol
        return Shown(evaluation=_with_sides(evaluation, asked), is_whole=True, notes=())
    other = _other_protocol(evaluation, asked)
    if other is not None:
        note = f"{WHAT} was timed by {other}, so no times are shown."
        return Shown(evaluation=None, is_whole=False, notes=(note,))
    sizes = tuple(size for size in evaluation.sizes if size in asked.sizes)
    lacking = _labels(size for size in asked.sizes if size not in sizes)
    if not sizes:
        there = _labels(evaluation.sizes)
        note = f"{WHAT} was timed at {there}, not at {lacking}, so no times are shown."
        return Shown(evaluation=None, is_whole=False, notes=(note,))
    notes = []
    if lacking:
        shown = _labels(sizes)
        notes.append(f"{WHAT} was not timed at {lacking}: all that is shown is of {shown} alone.")
    if len(sizes) < len(evaluation.sizes):
        evaluation = _at(evaluation, sizes, best.seed)
    notes += _lacking_sides(evaluation, asked)
    return Shown(
        evaluation=_with_sides(evaluation, asked), is_whole=not lacking, notes=tuple(notes)
    )


def lacking_sizes(asked: Sequence[Size], evaluation: Evaluation) -> tuple[Size, ...]:
    """The sizes that were asked for and that a recorded evaluation does not show."""
    if not _is_timed(evaluation):
        return ()
    return tuple(size for size in asked if size not in evaluation.sizes)


def _fitness(evaluation: Evaluation, asked: Asked) -> tuple[bool, int]:
    if not _is_timed(evaluation):
        return True, len(asked.sizes)
    there = sum(size in evaluation.sizes for size in asked.sizes)
    return _other_protocol(evaluation, asked) is None, there


def _is_timed(evaluation: Evaluation) -> bool:
    return any(trial.timings for trial in evaluation.trials)


def _other_protocol(evaluation: Evaluation, asked: Asked) -> str | None:
    """In what a recorded protocol is not the one that was asked for; None where it is."""
    held, wanted = evaluation.protocol, asked.protocol
    if held is None:
        return f"a protocol that it does not name, not timing={wanted.name}"
    if held.name != wanted.name:
        return f"timing={held.name}, not {wanted.name}"
    for key in QUANTITY:
        one, other = getattr(held, key), getattr(wanted, key)
        if one != other:
            return f"timing={held.name} with timing.{key}={one}, not {other}"
    return None


def _at(evaluation: Evaluation, sizes: tuple[Size, ...], seed: int) -> Evaluation:
    """An evaluation at some of its sizes; what it says over all of them is over these."""
    gone = frozenset(evaluation.sizes) - frozenset(sizes)
    calibration = evaluation.calibration
    if calibration is not None:
        pairs = tuple(item for item in calibration.sizes if item.size not in gone)
        calibration = dataclasses.replace(calibration, sizes=pairs) if pairs else None
    return dataclasses.replace(
        evaluation,
        sizes=sizes,
        candidate=_without_sizes(evaluation.candidate, gone),
        references=tuple(_without_sizes(trial, gone) for trial in evaluation.references),
        comparisons=_compared(evaluation, sizes, seed),
        clock_logs=tuple(item for item in evaluation.clock_logs if item.size not in gone),
        calibration=calibration,
    )


def _without_sizes(trial: Trial, gone: Collection[Size]) -> Trial:
    return dataclasses.replace(
        trial,
        timings=tuple(item for item in trial.timings if item.size not in gone),
        dram=tuple(item for item in trial.dram if item.size not in gone),
        # a kernel that serves several sizes names none
        compiled=tuple(item for item in trial.compiled if item.size not in gone),
    )


def _compared(evaluation: Evaluation, sizes: tuple[Size, ...], seed: int) -> tuple[Comparison, ...]:
    """The comparisons at some sizes as they are, and those over all sizes from the rounds anew."""
    trials = {trial.implementation.name: trial for trial in evaluation.trials}
    found: list[Comparison] = []
    for item in evaluation.comparisons:
        if item.size in sizes:
            found.append(item)
        if item.size is not None or evaluation.protocol is None:
            continue
        *_, overall = compare(
            item.subject,
            item.reference,
            _counted(trials[item.subject]),
            _counted(trials[item.reference]),
            sizes,
            item.clock,
            evaluation.protocol.margin,
            seed,
        )
        found.append(overall)
    return tuple(found)


def _counted(trial: Trial) -> Sequence[Timing]:
    """The times that the referee compares: none of what was found to be wrong."""
    return trial.timings if trial.status is Status.CORRECT else ()


def _lacking_sides(evaluation: Evaluation, asked: Asked) -> list[str]:
    """A line for an expert and for contenders that were asked for and are not there."""
    notes = []
    held = evaluation.expert
    name = None if held is None else held.implementation.name
    if asked.expert not in {None, name}:
        notes.append(
            f"{WHAT} holds {'no expert' if name is None else name},"
            f" not expert={asked.choice}, so no ratio over an expert is shown."
        )
    there = {trial.implementation.name for trial in evaluation.references}
    if lacking := [name for name in asked.contenders if name not in there]:
        notes.append(f"{WHAT} holds no times of {', '.join(lacking)} (contenders).")
    return notes


def _with_sides(evaluation: Evaluation, asked: Asked) -> Evaluation:
    """An evaluation without the experts, the contenders and the profile that nobody asked for."""
    wanted = {asked.expert, *asked.contenders}
    kept = [
        trial
        for trial in evaluation.references
        if trial.implementation.role is Role.BASELINE or trial.implementation.name in wanted
    ]
    names = {trial.implementation.name for trial in (evaluation.candidate, *kept)}
    shown = dataclasses.replace(
        evaluation,
        references=tuple(kept),
        comparisons=tuple(
            item for item in evaluation.comparisons if {item.subject, item.reference} <= names
        ),
    )
    profile = evaluation.profile
    if profile is None or profile.tool == asked.profiler:
        return shown
    return dataclasses.replace(
        shown,
        candidate=dataclasses.replace(shown.candidate, dram=()),
        references=tuple(dataclasses.replace(trial, dram=()) for trial in kept),
        profile=None,
    )


def _labels(sizes: Iterable[Size]) -> str:
    return ", ".join(size.label for size in sizes)
