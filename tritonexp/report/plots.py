"""The two pictures of one record: times and speed-ups per size, and the key metric.

A record without times shows its verification errors instead, and one without those says so in
words. Does not cover several records: see sweep_plot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritonexp.records import (
    CaseResult,
    Comparison,
    Evaluation,
    Mode,
    Outcome,
    Role,
    Size,
    Status,
    StudyRecord,
    Trial,
)
from tritonexp.report import style, view, words

WIDTH_IN = 11.0
SLOT = 0.76  # the part of a size's place that its sides share
MOST_LEVEL_LABELS = 5  # more labels than this are turned
LINEAR_ULP = 0.1  # errors below it are drawn on a linear scale, so that zero has a place


def draw_comparison(record: StudyRecord, path: Path) -> None:
    """Times per size and speed-ups over the baseline, or verification errors where none."""
    shown = view.timed(record)
    if shown is not None and shown.evaluation.candidate.timings:
        _draw_times(record, shown, path)
    elif record.evaluation is not None and record.evaluation.candidate.cases:
        _draw_errors(record, record.evaluation, path)
    else:
        _draw_words(record, "nothing was verified or timed", path)


def draw_key_metric(record: StudyRecord, path: Path) -> None:
    """The candidate's speed-up over the expert per size and over all, or over what there is."""
    shown = view.timed(record)
    if shown is None or not shown.evaluation.candidate.timings:
        _draw_words(record, "candidate against the expert, not timed", path)
        return
    reference, heading = _rival(shown)
    _draw_speedups(record, shown, reference, heading, path)


def _draw_times(record: StudyRecord, shown: view.Timed, path: Path) -> None:
    evaluation = shown.evaluation
    looks = _looks(evaluation)
    made = style.figure(
        WIDTH_IN,
        5.2,
        f"{record.brief.title}: times and speed-ups over the baseline{_tag(shown)}",
        _details(record, shown) + "; with 95 % intervals",
    )
    left, right = made.subplots(1, 2)
    _plot_times(left, evaluation, looks)
    left.set_ylabel(f"{view.CLOCK_NAMES[shown.clock]} per call (µs)", fontsize=10)
    subjects = [t for t in looks if t.implementation.role is not Role.BASELINE]
    _plot_speedups(right, shown, subjects, looks)
    for axes in (left, right):
        _label_sizes(axes, evaluation.sizes)
    handles, labels = left.get_legend_handles_labels()
    # the mark alone: an interval's caps would only blur it at this size
    marks = [item[0] if isinstance(item, tuple) else item for item in handles]
    made.legend(
        marks,
        labels,
        loc="outside lower center",
        ncols=min(len(labels), 7),
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
            [place + _offset(index, len(looks)) for place, _ in found],
            [timing.median_us for _, timing in found],
            yerr=_bars([(timing.median_us, timing.interval_us) for _, timing in found]),
            fmt=marker,
            color=colour,
            markersize=6.5 if trial is evaluation.candidate else 5.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
            elinewidth=1.3,
            capsize=2.5,
            label=_legend(trial),
        )
    _plot_floors(axes, evaluation)
    axes.set_yscale("log")
    _readable_log(axes.yaxis)
    style.tidy(axes)


def _plot_floors(axes: Any, evaluation: Evaluation) -> None:
    label: str | None = "floor (least time)"
    for place, size in enumerate(evaluation.sizes):
        timings = [trial.timing_at(size) for trial in evaluation.trials]
        floor = next((item.floor_us for item in timings if item and item.floor_us), None)
        if floor is not None:
            reach = SLOT / 2 + 0.06
            axes.hlines(floor, place - reach, place + reach, color=style.BLACK, lw=1.4, label=label)
            label = None


def _plot_speedups(
    axes: Any,
    shown: view.Timed,
    subjects: Sequence[Trial],
    looks: dict[Trial, tuple[str, str]],
) -> None:
    baseline = view.baseline_of(shown.evaluation).implementation.name
    width = SLOT / max(len(subjects), 1)
    tops, labels = [1.0], []
    failed = "failed or not timed"
    for index, trial in enumerate(subjects):
        for place, size in enumerate(shown.evaluation.sizes):
            item = shown.comparison(baseline, size, trial.implementation.name)
            at = place + _offset(index, len(subjects))
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
                    yerr=_bars([(item.speedup, item.interval)]),
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
            fontsize=8.5 if len(shown.evaluation.sizes) <= MOST_LEVEL_LABELS else 6.5,
            fontweight="bold",
            color="white" if inside else style.BLACK,
        )
    if failed.startswith("_"):
        axes.legend(loc="upper right", frameon=False, fontsize=8.5)
    axes.axhline(1, color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_ylim(0, max(tops) * (1.12 if not failed.startswith("_") else 1.22))
    axes.set_ylabel("speed-up over the baseline", fontsize=10)
    style.tidy(axes)


def _draw_errors(record: StudyRecord, evaluation: Evaluation, path: Path) -> None:
    results = sorted(
        evaluation.candidate.cases,
        key=lambda item: (item.case.dtype, item.case.distribution, item.case.size.extents),
    )
    failed = sum(item.status is not Status.CORRECT for item in results)
    place = (
        "Triton's interpreter"
        if evaluation.environment.gpu is None
        else (view.gpu_name(evaluation))
    )
    made = style.figure(
        WIDTH_IN,
        4.8,
        f"{record.brief.title}: verification errors (nothing was timed)",
        f"{view.model_name(record)}, prompt {record.choices.prompt}; {record.status}; {place},"
        f" {words.day(evaluation.environment.date)}; {len(results) - failed} of"
        f" {words.plural(len(results), 'case')} passed",
    )
    axes = made.subplots()
    places = range(len(results))
    series = (
        ("allowed", [item.allowed_error_ulp for item in results], style.BLACK, "_"),
        ("baseline", [item.baseline_error_ulp for item in results], style.GREY, "s"),
        ("candidate", [item.error_ulp for item in results], style.VERMILLION, "o"),
    )
    drawn = [1.0]
    for label, values, colour, marker in series:
        known = [(x, y) for x, y in zip(places, values, strict=True) if _finite(y)]
        drawn += [float(y) for _, y in known if y is not None]
        axes.plot(
            [x for x, _ in known],
            [y for _, y in known],
            marker,
            color=colour,
            markersize=9 if marker == "_" else 5,
            markeredgewidth=1.6 if marker == "_" else 0,
            label=label,
            zorder=4 if label == "candidate" else 3,
        )
    _mark_failures(axes, results, max(drawn) * 4)
    axes.set_yscale("symlog", linthresh=LINEAR_ULP)
    axes.set_ylim(-LINEAR_ULP / 3, max(drawn) * 12)
    axes.set_xlim(-0.8, len(results) - 0.2)
    axes.set_ylabel("error against float64 (ulp at the row's scale)", fontsize=10)
    axes.set_xlabel("cases, by dtype, then distribution, then size", fontsize=10, labelpad=18)
    style.tidy(axes)
    axes.set_xticks([])
    _label_dtypes(axes, results)
    made.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    style.save(made, path)


def _mark_failures(axes: Any, results: Sequence[CaseResult], height: float) -> None:
    failing = [x for x, item in enumerate(results) if item.status is not Status.CORRECT]
    if failing:
        axes.plot(
            failing,
            [height] * len(failing),
            "x",
            color=style.VERMILLION,
            markersize=6,
            markeredgewidth=1.4,
            label="failed case",
        )


def _label_dtypes(axes: Any, results: Sequence[CaseResult]) -> None:
    names = [item.case.dtype for item in results]
    for name in dict.fromkeys(names):
        first, amount = names.index(name), names.count(name)
        if first:
            axes.axvline(first - 0.5, color=style.GREY, linewidth=0.8)
        axes.annotate(
            name,
            (first + (amount - 1) / 2, 0),
            xycoords=("data", "axes fraction"),
            xytext=(0, -6),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=9,
            color=style.BLACK,
        )


def _draw_speedups(
    record: StudyRecord, shown: view.Timed, reference: str, heading: str, path: Path
) -> None:
    evaluation = shown.evaluation
    rows: list[tuple[str, Comparison | None]] = [
        (size.label, shown.comparison(reference, size)) for size in evaluation.sizes
    ]
    rows.append(("geometric mean", shown.comparison(reference, None)))
    made = style.figure(9.0, 1.9 + 0.42 * len(rows), heading, _details(record, shown))
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
                xerr=_bars([(item.speedup, item.interval)]),
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


def _draw_words(record: StudyRecord, heading: str, path: Path) -> None:
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


def _rival(shown: view.Timed) -> tuple[str, str]:
    """What the key metric is against, and the heading that says so."""
    expert = shown.evaluation.expert
    if expert is not None:
        name = expert.implementation.name
        return name, f"Candidate against the human expert ({name}){_tag(shown)}"
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
    return name, f"No human expert for this operation: candidate against {name}{_tag(shown)}"


def _tag(shown: view.Timed) -> str:
    """What a heading must say of times that this run did not take."""
    return f" ({shown.label})" if shown.recorded else ""


def _details(record: StudyRecord, shown: view.Timed) -> str:
    return (
        f"{record.choices.operation}: {view.model_name(record)}, prompt {record.choices.prompt};"
        f" {shown.evaluation.dtype}, {view.CLOCK_NAMES[shown.clock]}; {shown.label}"
    )


def _looks(evaluation: Evaluation) -> dict[Trial, tuple[str, str]]:
    """A colour and a marker for each side, baseline first, the candidate beside the expert."""
    order = (Role.BASELINE, Role.EXPERT, Role.CANDIDATE, Role.CONTENDER)
    found: dict[Trial, tuple[str, str]] = {}
    for role in order:
        trials = [trial for trial in evaluation.trials if trial.implementation.role is role]
        for index, trial in enumerate(trials):
            looks = style.ROLE_LOOKS[role]
            found[trial] = looks[index % len(looks)]
    return found


def _legend(trial: Trial) -> str:
    name, role = trial.implementation.name, trial.implementation.role
    text = f"{name} ({role.value})" if role is Role.EXPERT else name
    return text if trial.status is Status.CORRECT else f"{text}: {trial.status}"


def _offset(index: int, amount: int) -> float:
    return SLOT * ((index + 0.5) / amount - 0.5)


def _bars(items: Sequence[tuple[float, Any]]) -> list[list[float]]:
    """Distances below and above, as matplotlib's error bars take them."""
    return [
        [max(0.0, value - item.low) if item else 0.0 for value, item in items],
        [max(0.0, item.high - value) if item else 0.0 for value, item in items],
    ]


def _label_sizes(axes: Any, sizes: Sequence[Size]) -> None:
    labels = [size.label for size in sizes]
    turned = len(labels) > MOST_LEVEL_LABELS or max(map(len, labels)) * len(labels) > 56  # noqa: PLR2004
    axes.set_xticks(
        range(len(labels)),
        labels,
        rotation=30 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor" if turned else "default",
    )
    axes.set_xlim(-0.55, len(labels) - 0.45)


def _readable_log(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _scale_ratio(axes: Any, low: float, high: float) -> None:
    if high / low > 6:  # noqa: PLR2004
        axes.set_xscale("log")
        _readable_log(axes.xaxis)
        axes.set_xlim(low / 1.15, high * 1.15)
        return
    room = max(0.08 * (high - low), 0.004)
    axes.set_xlim(low - room, high + room)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
