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
from tritonexp.report.settings import NAMED, settings_of

SHA_LETTERS = 8
TIMING = "timing"
# what runs must share to be matched, besides the kernel, operation, model, prompt and seed
ALIKE = (*(group for group in NAMED if group != TIMING), "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run, with its times where it has any that count."""

    record: StudyRecord
    protocol: str  # as it was chosen, with what was changed in it: host_clock timing.rounds=40
    shown: view.Timed | None
    why: str  # why there are no times, "" otherwise

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
    repeated: tuple[str, ...]  # the protocols of later runs, which an earlier one stands for

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
    kernels: dict[tuple[str, ...], dict[str | None, list[Run]]] = {}
    seeds = {record.choices.seed for record in records}
    for record, setting, timing in sorted(
        zip(records, settings_of(records, ALIKE), protocols_of(records), strict=True),
        key=lambda item: item[0].started,
    ):
        choices = record.choices
        seed = f"seed={choices.seed}" if len(seeds) > 1 else ""
        alike = (choices.operation, choices.model, choices.prompt, setting, seed)
        runs = kernels.setdefault(alike, {}).setdefault(record.attempt.source, [])
        runs.append(_run(record, timing))
    made = []
    for (operation, model, prompt, *rest), found in kernels.items():
        name = " ".join([f"{operation}/{model}/{prompt}", *(part for part in rest if part)])
        for source, runs in found.items():
            kernel = "no code" if source is None else f"kernel {sha256_of(source)[:SHA_LETTERS]}"
            made.append(_match(f"{name} ({kernel})" if len(found) > 1 else name, runs))
    return tuple(made)


def protocols_of(records: Sequence[StudyRecord]) -> tuple[str, ...]:
    """The timing protocol of each record, as a run is told by it where several are compared."""
    changed = settings_of(records, (TIMING,))
    return tuple(
        text.removeprefix(f"{TIMING}=") or record.choices.timing
        for record, text in zip(records, changed, strict=True)
    )


def ended(status: Status, reason: str) -> str:
    """How a run or a side ended, with its reason on the same line."""
    return f"ended as {status}" + (f" ({view.one_line(reason)})" if reason else "")


def _match(name: str, members: Sequence[Run]) -> Match:
    first: dict[str, Run] = {}
    for run in members:
        first.setdefault(run.protocol, run)
    return Match(
        name=name,
        runs=tuple(sorted(first.values(), key=lambda run: (run.by_host, run.protocol))),
        repeated=tuple(run.protocol for run in members if run is not first[run.protocol]),
    )


def _run(record: StudyRecord, protocol: str) -> Run:
    evaluation = record.evaluation
    why = ""
    if record.status is not Status.CORRECT or evaluation is None:
        why = ended(record.status, record.attempt.reason)
    elif evaluation.mode is Mode.INTERPRETER:
        why = "not timed, since there was no GPU"
    elif not view.has_times(evaluation):
        why = "not timed"
    shown = None if why or evaluation is None else view.Timed(evaluation=evaluation, recorded=False)
    return Run(record=record, protocol=protocol, shown=shown, why=why)
