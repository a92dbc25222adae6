"""comparison.png: times per size, and speed-ups over the baseline.

A record without times shows its verification errors instead, and one without those says so in
words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritonexp.records import Evaluation, Role, StudyRecord, Trial
from tritonexp.report import style, view, words
from tritonexp.report.plots import errors, shared


def draw_comparison(record: StudyRecord, path: Path) -> None:
    """Times per size and speed-ups over the baseline, or verification errors where none."""
    shown = view.timed(record)
    if shown is not None and shown.evaluation.candidate.timings:
        _draw_times(record, shown, path)
    elif record.evaluation is not None and record.evaluation.candidate.cases:
        errors.draw_errors(record, record.evaluation, path)
    else:
        shared.draw_words(record, "nothing was verified or timed", path)


def _draw_times(record: StudyRecord, shown: view.Timed, path: Path) -> None:
    evaluation = shown.evaluation
    looks = shared.looks(evaluation)
    made = style.figure(
        shared.WIDTH_IN,
        5.2,
        f"{record.brief.title}: times and speed-ups over the baseline{shared.tag(shown)}",
        shared.details(record, shown) + "; with 95 % intervals",
    )
    left, right = made.subplots(1, 2)
    _plot_times(left, evaluation, looks)
    left.set_ylabel(f"{view.CLOCK_NAMES[shown.clock]} per call (µs)", fontsize=10)
    subjects = [t for t in looks if t.implementation.role is not Role.BASELINE]
    _plot_speedups(right, shown, subjects, looks)
    for axes in (left, right):
        shared.label_sizes(axes, evaluation.sizes)
    handles, labels = left.get_legend_handles_labels()
    # the mark alone: an interval's caps would only blur it at this size
    marks = [item[0] if isinstance(item, tuple) else item for item in handles]
    made.legend(
        marks,
        labels,
        loc="outside lower center",
        ncols=style.legend_columns(labels, shared.WIDTH_IN),
        frameon=False,
        fontsize=9,
    )
    style.save(made, path)


def _plot_times(axes: Any, evaluation: Evaluation, looks: dict[Trial, tuple[str, str]]) -> None:
    for index, (trial, (colour, marker)) in enumerate(looks.items()):
        found = [
            (place, timing)
            for place, size in enumerate(evaluation.sizes)
            if (timing := trial.timing_at(size)) is not None
        ]
        axes.errorbar(
            [place + shared.offset(index, len(looks)) for place, _ in found],
            [timing.median_us for _, timing in found],
            yerr=shared.bars([(timing.median_us, timing.interval_us) for _, timing in found]),
            fmt=marker,
            color=colour,
            markersize=6.5 if trial is evaluation.candidate else 5.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            elinewidth=1.3,
            capsize=2.5,
            label=shared.legend(trial),
        )
    _plot_floors(axes, evaluation)
    axes.set_yscale("log")
    shared.readable_log(axes.yaxis)
    style.tidy(axes)


def _plot_floors(axes: Any, evaluation: Evaluation) -> None:
    label: str | None = "floor (least time)"
    for place, size in enumerate(evaluation.sizes):
        timings = [trial.timing_at(size) for trial in evaluation.trials]
        floor = next((item.floor_us for item in timings if item and item.floor_us), None)
        if floor is not None:
            reach = shared.SLOT / 2 + 0.06
            axes.hlines(floor, place - reach, place + reach, color=style.BLACK, lw=1.4, label=label)
            label = None


def _plot_speedups(
    axes: Any,
    shown: view.Timed,
    subjects: Sequence[Trial],
    looks: dict[Trial, tuple[str, str]],
) -> None:
    baseline = view.baseline_of(shown.evaluation).implementation.name
    width = shared.SLOT / max(len(subjects), 1)
    tops, labels = [1.0], []
    failed = "failed or not timed"
    for index, trial in enumerate(subjects):
        for place, size in enumerate(shown.evaluation.sizes):
            item = shown.comparison(baseline, size, trial.implementation.name)
            at = place + shared.offset(index, len(subjects))
            if item is None or item.speedup is None:
                look = {"color": looks[trial][0], "markersize": 6, "clip_on": False, "zorder": 4}
                axes.plot(at, 0, "x", label=failed, **look)
                failed = "_nolegend_"
                continue
            high = item.interval.high if item.interval else item.speedup
            tops.append(high)
            axes.bar(at, item.speedup, width * 0.9, color=looks[trial][0], linewidth=0)
            if item.interval is not None:
                axes.errorbar(
                    at,
                    item.speedup,
                    yerr=shared.bars([(item.speedup, item.interval)]),
                    fmt="none",
                    ecolor=style.BLACK,
                    elinewidth=1,
                    capsize=2,
                )
            if trial is shown.evaluation.candidate:
                labels.append((at, item.speedup, high))
    for at, speedup, high in labels:
        # upright inside its bar, where a neighbour's bar cannot cross it; above a bar too short
        inside = speedup > max(tops) / 4
        axes.annotate(
            words.ratio(speedup),
            (at, speedup if inside else high),
            xytext=(0, -6 if inside else 4),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="top" if inside else "bottom",
            fontsize=8.5 if len(shown.evaluation.sizes) <= shared.MOST_LEVEL_LABELS else 6.5,
            fontweight="bold",
            color="white" if inside else style.BLACK,
        )
    if failed.startswith("_"):
        axes.legend(loc="upper right", frameon=False, fontsize=8.5)
    axes.axhline(1, color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_ylim(0, max(tops) * (1.12 if not failed.startswith("_") else 1.22))
    axes.set_ylabel("speed-up over the baseline", fontsize=10)
    style.tidy(axes)
