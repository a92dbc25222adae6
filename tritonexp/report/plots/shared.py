"""What the pictures of one record share: looks of the sides, axes of sizes, captions.

Does not cover what a sweep's picture needs: see sweep_plot.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritonexp.records import Evaluation, Mode, Role, Size, Status, StudyRecord, Trial
from tritonexp.report import style, view, words

WIDTH_IN = 11.0
SLOT = 0.76  # the part of a size's place that its sides share
MOST_LEVEL_LABELS = 5  # more labels than this are turned
HALF_LETTERS = 50  # so many in the labels of a panel of half the width, or they are turned


def tag(shown: view.Timed) -> str:
    """What a heading must say of times that this run did not take."""
    return f" ({shown.label})" if shown.recorded else ""


def details(record: StudyRecord, shown: view.Timed) -> str:
    """The caption: what was timed, by which clock, on what and when."""
    return (
        f"{record.choices.operation}: {view.model_name(record)}, prompt {record.choices.prompt};"
        f" {shown.evaluation.dtype}, {view.CLOCK_NAMES[shown.clock]}; {shown.label}"
    )


def draw_words(record: StudyRecord, heading: str, path: Path) -> None:
    """Say in a picture's place why there is nothing to draw."""
    evaluation = record.evaluation
    reason = record.attempt.reason
    if not reason and evaluation is not None and evaluation.mode is Mode.INTERPRETER:
        reason = "verified in Triton's interpreter; there was no GPU to time it on"
    made = style.figure(
        9.0,
        1.1,
        f"{record.brief.title}: {heading}",
        f"{view.model_name(record)}, prompt {record.choices.prompt}; {words.day(record.started)};"
        f" {record.status}" + (f": {view.one_line(reason, 200)}" if reason else ""),
    )
    style.save(made, path)


def looks(evaluation: Evaluation) -> dict[Trial, tuple[str, str]]:
    """A colour and a marker for each side, baseline first, the candidate beside the expert."""
    order = (Role.BASELINE, Role.EXPERT, Role.CANDIDATE, Role.CONTENDER)
    found: dict[Trial, tuple[str, str]] = {}
    for role in order:
        trials = [trial for trial in evaluation.trials if trial.implementation.role is role]
        for index, trial in enumerate(trials):
            known = style.ROLE_LOOKS[role]
            found[trial] = known[index % len(known)]
    return found


def legend(trial: Trial) -> str:
    """A side's name, with its role where that is not plain and its status where it failed."""
    name, role = trial.implementation.name, trial.implementation.role
    text = f"{name} ({role.value})" if role is Role.EXPERT else name
    return text if trial.status is Status.CORRECT else f"{text}: {trial.status}"


def offset(index: int, amount: int) -> float:
    """Where in a size's place the side of an index stands."""
    return SLOT * ((index + 0.5) / amount - 0.5)


def bars(items: Sequence[tuple[float, Any]]) -> list[list[float]]:
    """Distances below and above, as matplotlib's error bars take them."""
    return [
        [max(0.0, value - item.low) if item else 0.0 for value, item in items],
        [max(0.0, item.high - value) if item else 0.0 for value, item in items],
    ]


def label_sizes(
    axes: Any, sizes: Sequence[Size], notes: Sequence[str] = (), *, letters: int = HALF_LETTERS
) -> None:
    """Name the places on x, with a note on each; turned where they are too many or too long."""
    labels = [size.label for size in sizes]
    turned = len(labels) > MOST_LEVEL_LABELS or max(map(len, labels)) * len(labels) > letters
    if notes:
        gap = ", " if turned else "\n"
        labels = [f"{label}{gap}{note}" for label, note in zip(labels, notes, strict=True)]
    axes.set_xticks(
        range(len(labels)),
        labels,
        rotation=30 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor" if turned else "default",
    )
    axes.set_xlim(-0.55, len(labels) - 0.45)


def mark(trial: Trial, look: tuple[str, str]) -> Any:
    """A side's entry in a legend."""
    from matplotlib.lines import Line2D

    colour, marker = look
    return Line2D(
        [], [], color=colour, marker=marker, linestyle="none", markersize=6.5, label=legend(trial)
    )


def readable_log(axis: Any) -> None:
    """Label a logarithmic axis with plain figures."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    plain_figures(axis)
    axis.set_minor_formatter(NullFormatter())


def plain_figures(axis: Any) -> None:
    """Label an axis with thousands separators and no powers of ten."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
