"""The picture of a sweep: a panel per operation, models on x, prompts by colour.

A group's mark is its geometric mean with a 95 % interval, its jobs are the small dots, a failure
is an x at 0. Hollow marks were recorded earlier, not measured in the sweep; in the legend, a series
whose marks all are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritonexp.report import style, words

if TYPE_CHECKING:
    from tritonexp.report.groups import Group

SLOT = 0.7
MOST_COLUMNS = 3
DOT_SHIFT = 0.07  # beside the interval, which would hide them
LEGEND_STEP_IN = 0.2  # from a line of the legend to the next
LEVEL_LETTERS = 26  # more letters than this in a panel's labels are turned


def draw(groups: Sequence[Group], sweep: str, path: Path) -> None:
    """Draw comparison.png for the groups of a sweep."""
    operations = list(dict.fromkeys(item.operation for item in groups))
    series = list(dict.fromkeys(_series(item) for item in groups))
    columns = min(len(operations), MOST_COLUMNS)
    rows = -(-len(operations) // columns)
    jobs = sum(len(item.jobs) for item in groups)
    width_in = max(8.0, 4.0 * columns)
    legend_columns = style.legend_columns(series, width_in)
    # what a long legend takes is added, so that it leaves the panels their height
    legend_in = LEGEND_STEP_IN * (-(-len(series) // legend_columns) - 1)
    made = style.figure(
        width_in,
        1.3 + 3.6 * rows + legend_in,
        "Speed-up over the baseline, by operation, model and prompt",
        f"sweep {sweep}: {words.plural(jobs, 'job')}; mark: geometric mean of the correct jobs with"
        " its 95 % interval; dot: a job; x at 0: a failure; below: correct of all"
        + ("; hollow: recorded earlier" if any(item.recorded for item in groups) else ""),
    )
    panels = made.subplots(rows, columns, squeeze=False).ravel()
    for axes, operation in zip(panels, operations, strict=False):
        members = [item for item in groups if item.operation == operation]
        _draw_panel(axes, operation, members, series)
    for axes in panels[len(operations) :]:
        axes.set_axis_off()
    made.legend(
        handles=[
            _handle(
                index,
                name,
                hollow=all(item.recorded for item in groups if _series(item) == name),
            )
            for index, name in enumerate(series)
        ],
        loc="outside lower center",
        ncols=legend_columns,
        frameon=False,
        fontsize=9,
    )
    style.save(made, path)


def _draw_panel(axes: Any, operation: str, members: Sequence[Group], series: Sequence[str]) -> None:
    models = list(dict.fromkeys(item.model for item in members))
    top = 1.0
    for item in members:
        index = series.index(_series(item))
        at = models.index(item.model) + SLOT * ((index + 0.5) / len(series) - 0.5)
        top = max(top, _draw_group(axes, item, at, index))
        axes.annotate(
            f"{item.correct}/{len(item.jobs)}",
            (at, 0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=style.BLACK,
        )
    axes.axhline(1, color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_title(operation, fontsize=11, loc="left", color=style.BLACK)
    axes.set_xlim(-0.55, len(models) - 0.45)
    # the room below 0 holds the shares
    axes.set_ylim(-0.16 * top, top * 1.08)
    turned = sum(map(len, models)) > LEVEL_LETTERS
    axes.set_xticks(
        range(len(models)),
        models,
        rotation=25 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor" if turned else "default",
    )
    axes.set_ylabel("speed-up over the baseline", fontsize=9)
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= top * 1.08])
    axes.axhline(0, color=style.LIGHT, linewidth=0.8)
    style.tidy(axes)


def _draw_group(axes: Any, item: Group, at: float, index: int) -> float:
    """Draw one group's mark, dots and failures; returns the highest value drawn."""
    colour, marker = style.SERIES_LOOKS[index % len(style.SERIES_LOOKS)]
    failures = sum(not job.correct for job in item.jobs)
    if failures:
        axes.plot(
            at, 0, "x", color=colour, markersize=7, markeredgewidth=1.8, clip_on=False, zorder=5
        )
    speedups = [
        job.versus_baseline.speedup
        for job in item.jobs
        if job.versus_baseline is not None and job.versus_baseline.speedup is not None
    ]
    pooled = item.speedup("baseline")
    if pooled is None:
        if not failures:
            axes.annotate(
                "not timed",
                (at, 1),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                rotation=90,
                va="bottom",
                color=style.GREY,
            )
        return 1.0
    value, interval = pooled
    if len(speedups) > 1:
        axes.plot(
            [at + DOT_SHIFT] * len(speedups), speedups, ".", color=colour, alpha=0.6, markersize=5
        )
    axes.errorbar(
        at,
        value,
        yerr=[[value - interval.low], [interval.high - value]] if interval else None,
        fmt=marker,
        color=colour,
        markerfacecolor="white" if item.recorded else colour,
        markersize=7.5,
        markeredgewidth=1.4,
        elinewidth=1.4,
        capsize=3,
        zorder=4,
    )
    # an interval over two or three jobs can be far wider than the data: let the axis cut it
    reach = interval.high if interval else value
    return max(*speedups, min(reach, 1.5 * max(speedups)))


def _handle(index: int, name: str, *, hollow: bool) -> Any:
    """A legend's entry, which looks like the marks of its series."""
    from matplotlib.lines import Line2D

    colour, marker = style.SERIES_LOOKS[index % len(style.SERIES_LOOKS)]
    return Line2D(
        [],
        [],
        color=colour,
        marker=marker,
        markerfacecolor="white" if hollow else colour,
        markeredgewidth=1.4,
        linestyle="none",
        markersize=7,
        label=name,
    )


def _series(item: Group) -> str:
    return f"{item.prompt} {item.setting}".strip()
