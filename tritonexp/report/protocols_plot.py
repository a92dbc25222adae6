"""protocols.png: the candidate's ratio to the expert per size, by each timing protocol.

A panel for each kernel that several protocols timed, with the baseline in the expert's place where
there is no expert. The bold place at the right is the geometric mean over the sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritonexp.records import Interval, Size
from tritonexp.report import style, words
from tritonexp.report.matching import Match, Run
from tritonexp.report.plots import shared

MOST_COLUMNS = 2
MOST_PANELS = 12  # a higher picture would not be read
PANEL_IN = 3.4
FOOT = 0.04  # of a panel's height
LOG_SPAN = 6.0  # ratios that reach over more than this need a logarithmic axis


def draw(matches: Sequence[Match], sweep: str, path: Path) -> bool:
    """Draw protocols.png; False, and no file, where no kernel was timed by two protocols."""
    comparable = [match for match in matches if match.is_comparable]
    if not comparable:
        return False
    drawn = comparable[:MOST_PANELS]
    columns = min(len(drawn), MOST_COLUMNS)
    rows = -(-len(drawn) // columns)
    width_in = 8.0 if columns == 1 else shared.WIDTH_IN
    made = style.figure(
        width_in,
        1.3 + PANEL_IN * rows,
        "The same kernel by each timing protocol",
        f"sweep {sweep}: ratio of the reference's time to the candidate's with its 95 % interval,"
        " so above 1 the candidate is faster; grey band: the margin of a tie"
        + ("; x at the foot: no ratio" if any(map(_lacks_a_ratio, drawn)) else "")
        + (f"; {len(drawn)} of {len(comparable)} shown" if len(drawn) < len(comparable) else ""),
    )
    panels = made.subplots(rows, columns, squeeze=False).ravel()
    names = list(dict.fromkeys(run.protocol for match in drawn for run in match.timed))
    for axes, match in zip(panels, drawn, strict=False):
        _draw_panel(axes, match, names)
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    made.legend(
        handles=[_handle(index, name) for index, name in enumerate(names)],
        loc="outside lower center",
        ncols=style.legend_columns(names, width_in),
        frameon=False,
        fontsize=9,
    )
    style.save(made, path)
    return True


def _draw_panel(axes: Any, match: Match, names: Sequence[str]) -> None:
    places: list[Size | None] = [*match.sizes, None]
    ends = [1.0]
    for run in match.timed:
        index = names.index(run.protocol)
        for place, size in enumerate(places):
            at = place + shared.offset(index, len(names))
            ends += _draw_ratio(axes, match, run, size, at, index)
    low, high = min(ends), max(ends)
    if high / low > LOG_SPAN:
        axes.set_yscale("log")
        shared.readable_log(axes.yaxis)
        axes.set_ylim(low / 1.2, high * 1.4)
    else:
        room = max(0.12 * (high - low), 0.01)
        axes.set_ylim(low - room, high + 1.5 * room)
    _draw_margin(axes, match)
    axes.axvline(len(places) - 1.5, color=style.LIGHT, linewidth=0.8)
    labels = [_label(size) for size in places]
    turned = len(labels) > shared.MOST_LEVEL_LABELS
    axes.set_xticks(
        range(len(places)),
        labels,
        rotation=30 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor" if turned else "default",
    )
    axes.set_xlim(-0.55, len(places) - 0.45)
    axes.set_ylabel(f"candidate over {match.name_of(match.references[0])}", fontsize=9)
    axes.set_title(match.name, fontsize=10.5, loc="left", color=style.BLACK)
    style.tidy(axes)
    axes.get_xticklabels()[-1].set_fontweight("bold")


def _draw_ratio(
    axes: Any, match: Match, run: Run, size: Size | None, at: float, index: int
) -> list[float]:
    """Draw one ratio and its figure; returns what the axis must hold."""
    colour, marker = style.SERIES_LOOKS[index % len(style.SERIES_LOOKS)]
    item = run.comparison(match.references[0], size)
    if item is None or item.speedup is None:
        # at no ratio's height, so that it cannot be read as one
        foot = {"transform": axes.get_xaxis_transform(), "markersize": 7, "markeredgewidth": 1.6}
        axes.plot(at, FOOT, "x", color=colour, zorder=5, **foot)
        return []
    interval = item.interval or Interval(low=item.speedup, high=item.speedup)
    axes.errorbar(
        at,
        item.speedup,
        yerr=shared.bars([(item.speedup, interval)]),
        fmt=marker,
        color=colour,
        markersize=7 if size is None else 6,
        elinewidth=1.4,
        capsize=3,
        zorder=4,
    )
    axes.annotate(
        words.ratio(item.speedup),
        (at, interval.high),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        fontweight="bold" if size is None else "normal",
        color=colour,
    )
    return [interval.low, interval.high]


def _draw_margin(axes: Any, match: Match) -> None:
    margins = {run.shown.margin for run in match.timed if run.shown is not None}
    margin = margins.pop() if len(margins) == 1 else None
    if margin is not None:
        axes.axhspan(1 / (1 + margin), 1 + margin, color=style.LIGHT, alpha=0.7, linewidth=0)
    axes.axhline(1, color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))


def _lacks_a_ratio(match: Match) -> bool:
    found = [
        run.comparison(match.references[0], size)
        for run in match.timed
        for size in [*match.sizes, None]
    ]
    return any(item is None or item.speedup is None for item in found)


def _label(size: Size | None) -> str:
    """A size's label, or what stands for all of them."""
    return "all sizes" if size is None else size.label


def _handle(index: int, name: str) -> Any:
    from matplotlib.lines import Line2D

    colour, marker = style.SERIES_LOOKS[index % len(style.SERIES_LOOKS)]
    return Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=7, label=name)
