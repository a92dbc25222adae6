"""rounds.png: the rounds behind the doubtful verdicts, so that a reader can see what they rest on.

A panel for each size and reference: a dot for each round's ratio, their median with its interval,
the margin, and below, where it was read, the SM clock after each round.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritonexp.records import StudyRecord
from tritonexp.report import doubt, style, view, words
from tritonexp.report.plots import shared

MOST_COLUMNS = 3
MOST_PANELS = 24  # a higher picture would not be read
PANEL_IN, CLOCK_IN = 2.15, 0.55  # heights
# dots further out than so many quartile ranges are drawn at the panel's edge
REACH = 4.0
# the margin is left out where it would take more than so many times the height of the dots
MOST_MARGIN_SHARE = 3.0
STEADY_SHARE = 0.03  # clocks within this of each other look like one
# matplotlib's carets, which point out of the panel
ABOVE, BELOW = 6, 7


def draw_rounds(record: StudyRecord, path: Path) -> bool:
    """Draw rounds.png; False, and no file, where no verdict is doubtful."""
    shown = view.timed(record)
    doubts = doubt.doubts_of(shown) if shown else ()
    if shown is None or not doubts:
        return False
    drawn = doubts[:MOST_PANELS]
    clocked = any(item.sm_mhz for item in drawn)
    columns = min(len(drawn), MOST_COLUMNS)
    rows = -(-len(drawn) // columns)
    made = style.figure(
        shared.WIDTH_IN,
        1.3 + rows * (PANEL_IN + CLOCK_IN * clocked),
        f"{record.brief.title}: doubtful verdicts, round by round{shared.tag(shown)}",
        f"{shared.details(record, shown)}; ratio: the reference's time over the candidate's, so"
        " above 1 the candidate is faster"
        + ("; below: SM clock (MHz) after the round" if clocked else "; no clocks were read")
        + (f"; {len(drawn)} of {len(doubts)} shown" if len(drawn) < len(doubts) else ""),
    )
    heights = ([PANEL_IN, CLOCK_IN] if clocked else [PANEL_IN]) * rows
    grid = made.add_gridspec(len(heights), columns, height_ratios=heights)
    colours = {
        trial.implementation.name: colour
        for trial, (colour, _) in shared.looks(shown.evaluation).items()
    }
    parts = len(heights) // rows
    for index, item in enumerate(drawn):
        row, column = divmod(index, columns)
        axes = made.add_subplot(grid[row * parts, column])
        draw_ratios(axes, item, shown.margin, colours[item.comparison.reference])
        if clocked:
            below = made.add_subplot(grid[row * parts + 1, column], sharex=axes)
            axes.tick_params(labelbottom=False)
            draw_clock(below, item)
        else:
            axes.set_xlabel("round", fontsize=8.5)
    _add_legend(made, drawn, shown.margin)
    style.save(made, path)
    return True


def draw_ratios(axes: Any, item: doubt.Doubt, margin: float | None, colour: str) -> None:
    """Draw one verdict's rounds in their order, with median, interval and margin."""
    low, high = limits(item, margin)
    axes.axhspan(item.interval.low, item.interval.high, color=colour, alpha=0.2, linewidth=0)
    axes.axhline(1, color=style.LIGHT, linewidth=0.8)
    for edge in doubt.margins(margin) if margin is not None else ():
        axes.axhline(edge, color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.axhline(item.comparison.speedup, color=style.BLACK, linewidth=1.2)
    for number, ratio in enumerate(item.ratios):
        beyond = not low <= ratio <= high
        axes.plot(
            number + 1,
            min(max(ratio, low), high),
            marker=(ABOVE if ratio > high else BELOW) if beyond else "o",
            linestyle="none",
            color=colour,
            markerfacecolor="white" if number in item.unsteady else colour,
            markeredgewidth=1.1,
            markersize=5.5 if beyond else 4.2,
            clip_on=False,
            zorder=4,
        )
    axes.set_xlim(0.2, len(item.ratios) + 0.8)
    axes.set_ylim(low, high)
    style.tidy(axes)
    axes.tick_params(labelsize=8.5)
    axes.set_title(
        f"{item.size.label} over {item.comparison.reference}",
        loc="left",
        fontsize=9.5,
        fontweight="bold",
        color=style.BLACK,
        pad=29,
    )
    axes.annotate(
        f"{words.verdict(item.comparison)}\n{item.reason}",
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 4),
        textcoords="offset points",
        va="bottom",
        fontsize=8.5,
        color=style.BLACK,
    )


def draw_clock(axes: Any, item: doubt.Doubt) -> None:
    """Draw the SM clock after each round as a thin line, or say that it is not known."""
    known = [mhz for mhz in item.sm_mhz if mhz is not None]
    axes.set_xlabel("round", fontsize=8.5)
    style.tidy(axes)
    axes.tick_params(labelsize=8)
    if not known:
        axes.set_yticks([])
        axes.annotate("clock: -", (0.02, 0.3), xycoords="axes fraction", fontsize=8)
        return
    axes.plot(
        range(1, len(item.sm_mhz) + 1),
        [float("nan") if mhz is None else mhz for mhz in item.sm_mhz],
        color=style.BLACK,
        linewidth=0.9,
        drawstyle="steps-mid",
    )
    low, high = min(known), max(known)
    steady = high - low < STEADY_SHARE * high
    room = STEADY_SHARE * high if steady else 0.3 * (high - low)
    axes.set_ylim(low - room, high + room)
    axes.set_yticks([high] if steady else [low, high])
    shared.plain_figures(axes.yaxis)


def limits(item: doubt.Doubt, margin: float | None) -> tuple[float, float]:
    """What the axis of ratios holds: interval, all dots but those far out, the margin if near."""
    lower, _, upper = statistics.quantiles(item.ratios, n=4)
    reach = REACH * (upper - lower)
    held = [item.interval.low, item.interval.high]
    held += [ratio for ratio in item.ratios if lower - reach <= ratio <= upper + reach]
    with_margin = [1.0, *held, *(doubt.margins(margin) if margin is not None else ())]
    if _span(with_margin) <= (1 + MOST_MARGIN_SHARE) * _span(held):
        held = with_margin
    # rounds that all agree need a height too
    room = max(0.06 * _span(held), 1e-3 * max(held))
    return min(held) - room, max(held) + room


def _is_beyond(item: doubt.Doubt, margin: float | None) -> bool:
    low, high = limits(item, margin)
    return any(not low <= ratio <= high for ratio in item.ratios)


def _span(values: Sequence[float]) -> float:
    return max(values) - min(values)


def _add_legend(made: Any, drawn: Sequence[doubt.Doubt], margin: float | None) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dot: dict[str, Any] = {
        "marker": "o",
        "linestyle": "none",
        "color": style.GREY,
        "markersize": 4.5,
    }
    handles = [
        Line2D([], [], label="ratio in a round", **dot),
        Line2D([], [], color=style.BLACK, linewidth=1.2, label="median"),
        Patch(color=style.GREY, alpha=0.3, linewidth=0, label="95 % interval"),
    ]
    if any(item.unsteady for item in drawn):
        handles.insert(1, Line2D([], [], markerfacecolor="white", label="unsteady round", **dot))
    if any(_is_beyond(item, margin) for item in drawn):
        caret = dot | {"marker": BELOW, "markersize": 5}
        handles.insert(1, Line2D([], [], label="beyond the panel", **caret))
    if margin is not None:
        label = f"margin of {words.percent(margin)}: a tie between the lines"
        handles.append(
            Line2D([], [], color=style.GREY, linewidth=1, linestyle=(0, (4, 3)), label=label)
        )
    made.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
    )
