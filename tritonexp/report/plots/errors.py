"""The errors of all cases, for a record in which nothing was timed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritonexp.records import CaseResult, Evaluation, Status, StudyRecord
from tritonexp.report import style, view, words
from tritonexp.report.plots import shared

LINEAR_ULP = 0.1  # errors below it are drawn on a linear scale, so that zero has a place


def draw_errors(record: StudyRecord, evaluation: Evaluation, path: Path) -> None:
    """Draw each case's error beside the baseline's and what is allowed."""
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
        shared.WIDTH_IN,
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


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
