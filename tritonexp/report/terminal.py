"""The summary that a run prints: one line, and a table that fits a terminal.

Does not cover progress while a job works: that belongs to the study.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tritonexp.records import (
    Comparison,
    Evaluation,
    Mode,
    Outcome,
    Size,
    Status,
    StudyRecord,
    Trial,
)
from tritonexp.report import view, words

# what a side's name and a time with its interval take, the space between columns included
NAME_WIDTH = 15
COLUMN_WIDTH = 18

OUTCOME_STYLES = {
    Outcome.FASTER: "green",
    Outcome.SLOWER: "red",
    Outcome.TIE: "yellow",
    Outcome.FAILED: "red",
}


def headline(record: StudyRecord) -> str:
    """The result in one line, every speed-up with its interval."""
    parts = [f"{record.name}: {record.status}"]
    if record.status is not Status.CORRECT:
        if record.attempt.reason:
            parts.append(view.one_line(record.attempt.reason))
        return ", ".join(parts)
    shown = view.timed(record)
    if shown is None:
        evaluation = record.evaluation
        if evaluation is not None and evaluation.mode is Mode.INTERPRETER:
            parts.append("verified in Triton's interpreter, not timed (no GPU)")
        else:
            parts.append("not timed")
        return ", ".join(parts)
    if shown.evaluation.status is not Status.CORRECT:
        parts.append(f"but {shown.evaluation.status} as {shown.label}")
        return ", ".join(parts)
    parts.append(f"{words.verdict(shown.versus_baseline())} vs baseline")
    expert = shown.evaluation.expert
    if expert is None:
        parts.append("no human expert")
    else:
        parts.append(f"{words.verdict(shown.versus_expert())} vs {expert.implementation.name}")
    share = shown.fraction_of_ceiling(shown.evaluation.candidate)
    parts.append(f"{words.fraction(share)} of the ceiling")
    return ", ".join(parts) + f" ({shown.label})"


def summary_table(record: StudyRecord) -> Any:
    """A rich table: a column per size, a row per side, then the candidate's speed-ups."""
    from rich.console import Group
    from rich.text import Text

    shown = view.timed(record)
    status = Text(f"{record.name}  ", style="bold")
    status.append(
        str(record.status), style="bold green" if record.status is Status.CORRECT else "bold red"
    )
    if record.attempt.reason:
        status.append(f"  {view.one_line(record.attempt.reason, 300)}")
    blocks: list[Any] = [status]
    if record.evaluation is not None:
        blocks.append(_verification_line(record))
    if shown is not None:
        blocks.append(_TimesTable(shown))
    else:
        blocks.append(Text("Times: - (not measured)"))
    return Group(*blocks)


def _verification_line(record: StudyRecord) -> Any:
    from rich.text import Text

    evaluation = record.evaluation
    if evaluation is None or not evaluation.candidate.cases:
        return Text("Verification: - (no case was reached)")
    trial = evaluation.candidate
    place = (
        "Triton's interpreter"
        if evaluation.mode is Mode.INTERPRETER
        else (view.gpu_name(evaluation))
    )
    return Text(
        f"Verification on {place}: {view.passed(trial)} of"
        f" {words.plural(len(trial.cases), 'case')} passed,"
        f" worst error {words.ulp(trial.error_ulp)} ulp"
    )


class _TimesTable:
    """Times and speed-ups in as many tables as the terminal's width asks for."""

    def __init__(self, shown: view.Timed) -> None:
        self.shown = shown

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        yield Text(
            f"{view.CLOCK_NAMES[self.shown.clock]} per call in µs,"
            f" {self.shown.evaluation.dtype}, with 95 % intervals; {self.shown.label}\n"
            "over: the other's time over the candidate's; above 1x the candidate is faster",
            style="italic",
        )
        columns = (*self.shown.evaluation.sizes, None)
        amount = max(1, (options.max_width - NAME_WIDTH) // COLUMN_WIDTH)
        for first in range(0, len(columns), amount):
            yield _times_table(self.shown, columns[first : first + amount])


def _times_table(shown: view.Timed, sizes: Sequence[Size | None]) -> Any:
    """A table of some sizes; None stands for the geometric mean over all of them."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    evaluation = shown.evaluation
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    made.add_column("", no_wrap=True)
    for size in sizes:
        made.add_column(size.label if size else "geometric mean", justify="right", no_wrap=True)
    for trial in evaluation.trials:
        made.add_row(_side(trial), *(_time(evaluation, trial, size) for size in sizes))
    made.add_section()
    names = [view.baseline_of(evaluation).implementation.name]
    if evaluation.expert is not None:
        names.append(evaluation.expert.implementation.name)
    for name in names:
        made.add_row(f"over {name}", *(_speedup(shown.comparison(name, size)) for size in sizes))
    if evaluation.expert is None:
        made.add_row("over expert", *(words.MISSING for _ in sizes))
    made.add_row("of ceiling", *(words.fraction(_fraction(shown, size)) for size in sizes))
    return made


def _fraction(shown: view.Timed, size: Size | None) -> float | None:
    candidate = shown.evaluation.candidate
    if size is None:
        return shown.fraction_of_ceiling(candidate)
    timing = candidate.timing_at(size)
    return timing.fraction_of_ceiling if timing else None


def _side(trial: Trial) -> str:
    role = trial.implementation.role.value
    name = trial.implementation.name
    text = name if name == role else f"{name}\n[dim]{role}[/dim]"
    return text if trial.status is Status.CORRECT else f"{text}\n[red]{trial.status}[/red]"


def _time(evaluation: Evaluation, trial: Trial, size: Size | None) -> str:
    if size is None:
        return words.time_us(view.mean_us(trial, evaluation))
    timing = trial.timing_at(size)
    if timing is None:
        return words.MISSING
    median, _, interval = words.timing(timing).partition(" ")
    mark = " (events)" if view.uncaptured(timing) else ""
    return f"{median}{mark}\n[dim]\\{interval}[/dim]"


def _speedup(item: Comparison | None) -> str:
    if item is None:
        return words.MISSING
    colour, word = OUTCOME_STYLES[item.outcome], item.outcome.value
    if item.speedup is None:
        return f"[{colour}]{word}[/{colour}]"
    value, _, interval = words.ratio(item.speedup, item.interval).partition(" ")
    lower = f"\n[dim]\\{interval}[/dim]" if interval else ""
    return f"{value} [{colour}]({word})[/{colour}]{lower}"
