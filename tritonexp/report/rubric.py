"""Ratings out of 5 by written rules on measured facts; what was not measured is not rated.

The rules are printed in the report, so that a reader can check each rating against the record.
Does not cover anything that needs taste: a rule that two readers could apply differently is none.
"""

from __future__ import annotations

import dataclasses

from tritonexp.records import (
    CompiledKernel,
    Evaluation,
    Interval,
    Mode,
    Outcome,
    Status,
    StudyRecord,
    Trial,
)
from tritonexp.report import view, words
from tritonexp.report.code import CodeFacts

HIGHEST = 5

RULES = (
    (
        "Correctness",
        (
            "5: CORRECT on a GPU, and no case used more than half of its allowed error."
            " 4: CORRECT on a GPU. 3: CORRECT in the interpreter only (small sizes)."
            " 2: not CORRECT, 90 % of the cases passed. 1: not CORRECT, some case passed."
            " 0: no case passed, nothing to run, or a dishonest result."
        ),
    ),
    (
        "Performance",
        (
            "By the low end of the speed-up's interval over the expert: 5: at least 0.99."
            " 4: 0.9. 3: 0.7. 2: 0.5. 1: less. Without an expert, by the low end of the fraction"
            " of the"
            " ceiling: 5: at least 0.9. 4: 0.75. 3: 0.5. 2: 0.25. 1: less."
            " Slower than the baseline: at most 1. 0: not CORRECT. -: not timed."
        ),
    ),
    (
        "Code quality",
        (
            "5, less one for each kind of fault that is there, however often: functions with"
            " neither docstring nor comment; loads or stores with no mask, boundary check or"
            " tensor descriptor; sizes written into a kernel or compared by ==; unconventional"
            " one-letter names; faults that a linter reports (bare except, star or unused import,"
            " overlong line). 0: it does not parse. -: no source."
        ),
    ),
    (
        "Optimisation",
        (
            "By the low end of the fraction of the ceiling: 5: at least 0.85. 4: 0.7. 3: 0.5. 2:"
            " 0.25."
            " 1: less. Less one, but not below 1, where a compiled kernel spills registers, and"
            " where"
            " a call launches more than two kernels of its own. 0: not CORRECT. -: not timed."
        ),
    ),
)

EXPERT_STEPS = ((0.99, 5), (0.9, 4), (0.7, 3), (0.5, 2))
CEILING_STEPS = ((0.9, 5), (0.75, 4), (0.5, 3), (0.25, 2))
OPTIMISATION_STEPS = ((0.85, 5), (0.7, 4), (0.5, 3), (0.25, 2))
MOST_LAUNCHES = 2
NEARLY_ALL = 0.9

DISHONEST = frozenset(
    {
        Status.NOT_TRITON,
        Status.TAMPERING,
        Status.STALE_RESULT,
        Status.CLOCK_MISMATCH,
        Status.IMPLAUSIBLE,
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rating:
    """A score with the facts that it follows from; None where they were not measured."""

    aspect: str
    score: int | None
    note: str

    @property
    def text(self) -> str:
        """As in 4 / 5, or "-"."""
        return words.MISSING if self.score is None else f"{self.score} / {HIGHEST}"


def rate(record: StudyRecord, code: CodeFacts | None) -> tuple[Rating, ...]:
    """The four ratings of a record, in the order of the rules."""
    shown = view.timed(record)
    return (
        _correctness(record, shown),
        _performance(record, shown),
        _code_quality(record, code),
        _optimisation(record, shown),
    )


def _correctness(record: StudyRecord, shown: view.Timed | None) -> Rating:
    def rating(score: int, note: str) -> Rating:
        return Rating(aspect="Correctness", score=score, note=note)

    evaluation = record.evaluation
    if evaluation is None:
        return rating(0, f"{record.status}: there was nothing to run.")
    label = ""
    if shown is not None and shown.recorded and record.status is Status.CORRECT:
        evaluation, label = shown.evaluation, f", {shown.label}"
    trial = evaluation.candidate
    tally = f"{view.passed(trial)} of {words.plural(len(trial.cases), 'case')} passed{label}"
    if trial.status is Status.CORRECT:
        if evaluation.mode is Mode.INTERPRETER:
            return rating(3, f"{tally}, in the interpreter.")
        share = _worst_use(trial)
        note = f"{tally}; the worst used {words.fraction(share)} of its allowed error."
        return rating(5 if share is not None and share <= 1 / 2 else 4, note)
    note = f"{trial.status}: {tally}."
    if trial.status in DISHONEST or not view.passed(trial):
        return rating(0, note)
    return rating(2 if view.passed(trial) >= NEARLY_ALL * len(trial.cases) else 1, note)


def _performance(record: StudyRecord, shown: view.Timed | None) -> Rating:
    def rating(score: int | None, note: str) -> Rating:
        return Rating(aspect="Performance", score=score, note=note)

    blocked = _unrated(record, shown)
    if blocked is not None or shown is None:
        return rating(*(blocked or (None, "It was not timed.")))
    versus_baseline = shown.versus_baseline()
    baseline_note = f"over the baseline {words.verdict(versus_baseline)}"
    expert = shown.evaluation.expert
    if expert is not None:
        comparison = shown.versus_expert()
        if comparison is None or comparison.interval is None:
            reason = comparison.reason if comparison else "they were not compared"
            return rating(None, f"No speed-up over the expert: {reason}.")
        score = _step(comparison.interval.low, EXPERT_STEPS)
        note = f"Over {expert.implementation.name} {words.verdict(comparison)}; {baseline_note}."
    else:
        interval = shown.fraction_interval(shown.evaluation.candidate)
        if interval is None:
            return rating(None, "There is no expert, and the ceiling was not measured.")
        score = _step(interval.low, CEILING_STEPS)
        note = f"No expert; {_of_ceiling(shown, interval)}; {baseline_note}."
    if versus_baseline is not None and versus_baseline.outcome is Outcome.SLOWER:
        score = min(score, 1)
    return rating(score, note + _from(shown))


def _code_quality(record: StudyRecord, code: CodeFacts | None) -> Rating:
    def rating(score: int | None, note: str) -> Rating:
        return Rating(aspect="Code quality", score=score, note=note)

    if record.attempt.source is None:
        return rating(None, "There is no source.")
    if code is None:
        return rating(0, "It does not parse.")
    unguarded = sum(item.unguarded_loads + item.unguarded_stores for item in code.kernels)
    literals = sorted({str(size) for item in code.kernels for size in item.size_literals})
    complaints = [
        text
        for found, text in (
            (code.undocumented, f"no docstring or comment in {', '.join(code.undocumented)}"),
            (unguarded, f"{unguarded:,} loads or stores without a mask"),
            (
                literals or code.equal_sizes,
                f"sizes written out: {', '.join([*literals, *code.equal_sizes])}",
            ),
            (code.odd_names, f"one-letter names {', '.join(code.odd_names)}"),
            (code.faults, "; ".join(code.faults)),
        )
        if found
    ]
    note = "; ".join(complaints) or "every rule is kept"
    return rating(HIGHEST - len(complaints), note[0].upper() + note[1:] + ".")


def _optimisation(record: StudyRecord, shown: view.Timed | None) -> Rating:
    def rating(score: int | None, note: str) -> Rating:
        return Rating(aspect="Optimisation", score=score, note=note)

    blocked = _unrated(record, shown)
    if blocked is not None or shown is None:
        score, note = blocked or (None, "It was not timed.")
        compiled = record.evaluation.candidate.compiled if record.evaluation else ()
        if score is None and compiled:
            note += f" Compiled offline: {_spills_note(compiled)}."
        return rating(score, note)
    trial = shown.evaluation.candidate
    interval = shown.fraction_interval(trial)
    if interval is None:
        return rating(None, "The ceiling was not measured.")
    score = _step(interval.low, OPTIMISATION_STEPS)
    # a recorded evaluation may hold no static facts where this run's offline compilation does
    compiled = trial.compiled or _own_compiled(record.evaluation)
    launches = own_launches(trial)
    if any(item.spill_bytes for item in compiled):
        score -= 1
    if launches is not None and launches > MOST_LAUNCHES:
        score -= 1
    return rating(
        max(score, 1),
        f"{_of_ceiling(shown, interval)}; {_spills_note(compiled)}"
        + ("" if launches is None else f"; launches of its own kernels per call: {launches:,}")
        + f".{_from(shown)}",
    )


def own_launches(trial: Trial) -> int | None:
    """Launches of its own Triton kernels in one call; None where no call was profiled."""
    if not trial.kernels:
        return None
    return sum(kernel.launches for kernel in trial.kernels if kernel.own)


def _unrated(record: StudyRecord, shown: view.Timed | None) -> tuple[int | None, str] | None:
    """The score and note of a candidate whose speed cannot be rated, else None."""
    if record.status is not Status.CORRECT:
        return 0, f"{record.status}: a wrong kernel has no speed."
    if shown is None:
        return None, "It was not timed."
    if shown.evaluation.status is not Status.CORRECT:
        return 0, f"{shown.evaluation.status}: its times do not stand{_from(shown)}"
    return None


def _of_ceiling(shown: view.Timed, interval: Interval) -> str:
    """As in 0.75 [0.74, 0.75] of the ceiling."""
    share = shown.fraction_of_ceiling(shown.evaluation.candidate)
    return f"{words.fraction(share)} {words.span(interval, 2)} of the ceiling"


def _worst_use(trial: Trial) -> float | None:
    """The largest part of its allowed error that any case used."""
    parts = [
        case.error_ulp / case.allowed_error_ulp
        for case in trial.cases
        if case.error_ulp is not None and case.allowed_error_ulp
    ]
    return max(parts, default=None)


def _spills_note(compiled: tuple[CompiledKernel, ...]) -> str:
    known = [item.spill_bytes for item in compiled if item.spill_bytes is not None]
    if not known:
        return "spills: -"
    return f"spills: up to {words.count(max(known))} B per thread" if max(known) else "no spills"


def _own_compiled(evaluation: Evaluation | None) -> tuple[CompiledKernel, ...]:
    return evaluation.candidate.compiled if evaluation else ()


def _from(shown: view.Timed) -> str:
    return f" ({shown.label[0].upper()}{shown.label[1:]}.)" if shown.recorded else ""


def _step(value: float, steps: tuple[tuple[float, int], ...]) -> int:
    return next((score for least, score in steps if value >= least), 1)
