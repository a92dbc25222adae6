"""Which runs of a sweep judged the same kernel by different timing protocols, and what each found.

Does not cover evaluations that were recorded earlier: two clocks are compared only where the sweep
itself measured by both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tritonexp.records import (
    Clock,
    Comparison,
    Mode,
    Role,
    Size,
    Status,
    StudyRecord,
    Timing,
    Trial,
    sha256_of,
)
from tritonexp.report import view

# choices that runs must share to be matched, besides the kernel; the first three make the name
ALIKE = ("operation", "model", "prompt", "strategy", "sizes", "expert", "seed")
NAMED = 3
SHA_LETTERS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run, with its times where it has any that count."""

    record: StudyRecord
    shown: view.Timed | None
    why: str  # why there are no times, "" otherwise

    @property
    def protocol(self) -> str:
        """The timing protocol as it was chosen."""
        return self.record.choices.timing

    @property
    def by_host(self) -> bool:
        """Whether the host's clock decides."""
        return self.shown is not None and self.shown.clock is Clock.HOST

    def trial(self, role: Role) -> Trial | None:
        """The candidate, the baseline or the expert; None where it did not take part."""
        if self.shown is None:
            return None
        evaluation = self.shown.evaluation
        return {
            Role.CANDIDATE: evaluation.candidate,
            Role.BASELINE: view.baseline_of(evaluation),
            Role.EXPERT: evaluation.expert,
        }[role]

    def timing(self, role: Role, size: Size) -> Timing | None:
        """One side's times at a size."""
        trial = self.trial(role)
        return None if trial is None else trial.timing_at(size)

    def comparison(self, role: Role, size: Size | None) -> Comparison | None:
        """The candidate against the baseline or the expert, at a size or over all (None)."""
        trial = self.trial(role)
        if self.shown is None or trial is None:
            return None
        return self.shown.comparison(trial.implementation.name, size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Match:
    """The runs of one kernel: one for each protocol, device time before host time."""

    name: str
    runs: tuple[Run, ...]
    repeated: tuple[StudyRecord, ...]  # later runs of a protocol that one run stands for

    @property
    def timed(self) -> tuple[Run, ...]:
        """The runs that have times."""
        return tuple(run for run in self.runs if run.shown is not None)

    @property
    def is_comparable(self) -> bool:
        """Whether at least two protocols timed the kernel."""
        return len(self.timed) > 1

    @property
    def pairs(self) -> tuple[tuple[Run, Run], ...]:
        """Each run by the host's clock beside the first by the device's: (device, host)."""
        device = next((run for run in self.timed if not run.by_host), None)
        if device is None:
            return ()
        return tuple((device, run) for run in self.timed if run.by_host)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes that any of the runs timed."""
        asked = (run.shown.evaluation.sizes for run in self.timed if run.shown is not None)
        return tuple(dict.fromkeys(size for sizes in asked for size in sizes))

    @property
    def references(self) -> tuple[Role, ...]:
        """What the candidate was compared with: the expert, where there was one, and baseline."""
        has_expert = any(run.trial(Role.EXPERT) is not None for run in self.timed)
        return (Role.EXPERT, Role.BASELINE) if has_expert else (Role.BASELINE,)

    def name_of(self, role: Role) -> str:
        """What a side is called in the records."""
        trials = (run.trial(role) for run in self.timed)
        return next(trial.implementation.name for trial in trials if trial is not None)


def matches(records: Sequence[StudyRecord]) -> tuple[Match, ...]:
    """Match the runs of each kernel; none where all runs share one protocol."""
    if len({record.choices.timing for record in records}) < 2:  # noqa: PLR2004
        return ()
    found: dict[tuple[tuple[str, ...], str | None], list[StudyRecord]] = {}
    for record in sorted(records, key=lambda item: item.started):
        alike = tuple(str(getattr(record.choices, name)) for name in ALIKE)
        found.setdefault((alike, record.attempt.source), []).append(record)
    varying = [
        index for index in range(NAMED, len(ALIKE)) if len({alike[index] for alike, _ in found}) > 1
    ]
    kernels = [alike for alike, _ in found]
    made = []
    for (alike, source), members in found.items():
        name = "/".join(alike[:NAMED])
        name += "".join(f" {ALIKE[index]}={alike[index]}" for index in varying)
        if kernels.count(alike) > 1:
            kernel = "no code" if source is None else f"kernel {sha256_of(source)[:SHA_LETTERS]}"
            name += f" ({kernel})"
        made.append(_match(name, members))
    return tuple(made)


def ended(status: Status, reason: str) -> str:
    """How a run or a side ended, with its reason on the same line."""
    return f"ended as {status}" + (f" ({view.one_line(reason)})" if reason else "")


def _match(name: str, members: Sequence[StudyRecord]) -> Match:
    first: dict[str, StudyRecord] = {}
    for record in members:
        first.setdefault(record.choices.timing, record)
    runs = sorted(
        (_run(record) for record in first.values()), key=lambda r: (r.by_host, r.protocol)
    )
    kept = {record.study_id for record in first.values()}
    return Match(
        name=name,
        runs=tuple(runs),
        repeated=tuple(record for record in members if record.study_id not in kept),
    )


def _run(record: StudyRecord) -> Run:
    evaluation = record.evaluation
    why = ""
    if record.status is not Status.CORRECT or evaluation is None:
        why = ended(record.status, record.attempt.reason)
    elif evaluation.mode is Mode.INTERPRETER:
        why = "not timed, since there was no GPU"
    elif not view.has_times(evaluation):
        why = "not timed"
    if why or evaluation is None:
        return Run(record=record, shown=None, why=why)
    return Run(record=record, shown=view.Timed(evaluation=evaluation, recorded=False), why="")
