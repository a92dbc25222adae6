"""llm_vs_expert.png: the candidate's speed-up over the expert, or over what there is instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tritonexp.records import Comparison, Outcome, Role, StudyRecord
from tritonexp.report import style, view, words
from tritonexp.report.plots import shared


def draw_key_metric(record: StudyRecord, path: Path) -> None:
    """The candidate's speed-up over the expert per size and over all, or over what there is."""
    shown = view.timed(record)
    if shown is None or not shown.evaluation.candidate.timings:
        shared.draw_words(record, "candidate against the expert, not timed", path)
        return
    reference, heading = rival(shown)
    _draw_speedups(record, shown, reference, heading, path)


def _draw_speedups(
    record: StudyRecord, shown: view.Timed, reference: str, heading: str, path: Path
) -> None:
    evaluation = shown.evaluation
    rows: list[tuple[str, Comparison | None]] = [
        (size.label, shown.comparison(reference, size)) for size in evaluation.sizes
    ]
    rows.append(("geometric mean", shown.comparison(reference, None)))
    made = style.figure(9.0, 1.9 + 0.42 * len(rows), heading, shared.details(record, shown))
    axes = made.subplots()
    ends = [1.0]
    for index, (_, item) in enumerate(rows):
        ends += _plot_row(axes, len(rows) - 1 - index, item, overall=index == len(rows) - 1)
    margin = shown.margin
    if margin is not None:
        ends += [1 / (1 + margin), 1 + margin]
        axes.axvspan(
            1 / (1 + margin),
            1 + margin,
            color=style.LIGHT,
            alpha=0.7,
            linewidth=0,
            label=f"within {words.percent(margin)}: a tie",
        )
    axes.axvline(1, color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.axhline(0.5, color=style.LIGHT, linewidth=0.8)
    _scale_ratio(axes, min(ends), max(ends))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_yticks(range(len(rows) - 1, -1, -1), [label for label, _ in rows])
    axes.set_xlabel(
        f"speed-up of the candidate over {reference} (right of 1: the candidate is faster)",
        fontsize=10,
    )
    style.tidy(axes, grid="x")
    axes.get_yticklabels()[-1].set_fontweight("bold")
    if margin is not None:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8.5)
    style.save(made, path)


def _plot_row(axes: Any, height: int, item: Comparison | None, *, overall: bool) -> list[float]:
    """Draw one speed-up with its word at the right; returns what the axis must hold."""
    text, colour = words.verdict(item), style.GREY
    ends: list[float] = []
    if item is not None:
        colour = style.OUTCOME_COLOURS[item.outcome]
        if item.outcome is Outcome.FAILED and item.reason:
            text = f"failed: {view.one_line(item.reason, 34)}"
        if item.speedup is not None:
            ends = [item.speedup]
            if item.interval is not None:
                ends += [item.interval.low, item.interval.high]
            axes.errorbar(
                item.speedup,
                height,
                xerr=shared.bars([(item.speedup, item.interval)]),
                fmt="D" if overall else "o",
                color=colour,
                markersize=8 if overall else 6.5,
                elinewidth=1.6,
                capsize=3,
                zorder=4,
            )
    axes.annotate(
        text,
        (1, height),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        fontweight="bold" if overall else "normal",
        color=colour,
        annotation_clip=False,
    )
    return ends


def _scale_ratio(axes: Any, low: float, high: float) -> None:
    if high / low > 6:  # noqa: PLR2004
        axes.set_xscale("log")
        shared.readable_log(axes.xaxis)
        axes.set_xlim(low / 1.15, high * 1.15)
        return
    room = max(0.08 * (high - low), 0.004)
    axes.set_xlim(low - room, high + room)


def rival(shown: view.Timed) -> tuple[str, str]:
    """What the key metric is against, and the heading that says so."""
    expert = shown.evaluation.expert
    if expert is not None:
        name = expert.implementation.name
        return name, f"Candidate against the human expert ({name}){shared.tag(shown)}"
    contenders = [
        trial.implementation.name
        for trial in shown.evaluation.references
        if trial.implementation.role is Role.CONTENDER and trial.timings
    ]
    name = (
        "torch"
        if "torch" in contenders
        else (view.baseline_of(shown.evaluation).implementation.name)
    )
    return name, f"No human expert for this operation: candidate against {name}{shared.tag(shown)}"
